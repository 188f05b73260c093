"""What many requests have in common: an id that makes them idempotent, and pages."""

import re

from canicor.errors import InvalidArgument

DEFAULT_PAGE = 100
LARGEST_PAGE = 1000
LONGEST_ID = 128

# Within what a database counts to in its integer columns.
_PAGE_TOKEN = re.compile(r"[1-7]?[0-9a-f]{1,7}")


def checked_request_id(request_id: str) -> str:
    """Returns a `request_id` that may name a create.

    Raises:
        InvalidArgument: It is empty, longer than 128 characters, or not printable.
    """
    if not (0 < len(request_id) <= LONGEST_ID and request_id.isprintable()):
        raise InvalidArgument(
            f"request_id must be 1 to {LONGEST_ID} printable characters, the same again for a retry.",
            reason="REQUEST_ID",
            field="request_id",
        )
    return request_id


def page_limit(page_size: int) -> int:
    """Returns how many items a page holds; 0 asks for the default.

    Raises:
        InvalidArgument: It is negative or over 1000.
    """
    if not 0 <= page_size <= LARGEST_PAGE:
        raise InvalidArgument(
            f"page_size must be 1 to {LARGEST_PAGE}, or 0 for {DEFAULT_PAGE}.",
            reason="PAGE_SIZE",
            field="page_size",
        )
    return page_size or DEFAULT_PAGE


def page_start(page_token: str) -> int:
    """Returns the position that a page token stands for; the empty one for the first page is 0.

    Raises:
        InvalidArgument: No list gave this token.
    """
    if not page_token:
        return 0
    if not _PAGE_TOKEN.fullmatch(page_token):
        raise InvalidArgument(
            "page_token must be a former answer's next_page_token.", reason="PAGE_TOKEN", field="page_token"
        )
    return int(page_token, 16)


def page_token(position: int) -> str:
    """Returns the token of the page that starts at a position, 1 or more."""
    return f"{position:x}"
