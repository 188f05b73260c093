"""`canicor train`: fits models on a dataset manifest and pushes them."""

import typer

app = typer.Typer(help="Train, evaluate, export and push models.", no_args_is_help=True)
