"""Grafana understands what its dashboards say, and finds them and their source where the compose file has them."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

DEPLOY = Path(__file__).parents[2] / "deploy"
MONITORING = DEPLOY / "monitoring"
BOARDS = sorted((MONITORING / "dashboards").glob("*.json"))


def understood(board: dict[str, Any]) -> dict[str, Any]:
    """What Grafana Labs' own schema keeps of a dashboard."""
    plugins.register_default_plugins()
    kept: dict[str, Any] = json.loads(JSONEncoder().encode(Dashboard.from_json(board)))
    return kept


def lost(said: Any, kept: Any, place: str = "") -> list[str]:
    """Where something was said that is not kept; what the schema adds of itself does no harm."""
    if isinstance(said, dict) and isinstance(kept, dict):
        return [one for key in said for one in lost(said[key], kept.get(key), f"{place}/{key}")]
    if isinstance(said, list) and isinstance(kept, list) and len(said) == len(kept):
        return [one for i, pair in enumerate(zip(said, kept, strict=True)) for one in lost(*pair, f"{place}/{i}")]
    return [] if said == kept else [place]


@pytest.mark.parametrize("file", BOARDS, ids=lambda file: file.stem)
def test_the_schema_knows_all_that_a_dashboard_says(file: Path) -> None:
    board = json.loads(file.read_text())
    assert lost(board, understood(board)) == []


def test_a_word_that_grafana_does_not_know_is_found() -> None:
    board = json.loads(BOARDS[0].read_text())
    board["panels"][0]["targets"][0]["expresion"] = "up"
    board["refersh"] = "30s"
    assert lost(board, understood(board)) == ["/panels/0/targets/0/expresion", "/refersh"]


def test_dashboards_and_their_source_are_where_grafana_is_told() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    mounts = [one.split(":") for one in services["grafana"]["volumes"]]
    mounted = {inside: (DEPLOY / outside).resolve() for outside, inside, _ in mounts}
    read = {
        Path(inside).parent.name: yaml.safe_load(file.read_text())
        for inside, file in mounted.items()
        if file.is_file()
    }
    (provider,) = read["dashboards"]["providers"]
    assert mounted[provider["options"]["path"]] == MONITORING / "dashboards"
    (source,) = read["datasources"]["datasources"]
    host, port = source["url"].removeprefix("http://").split(":")
    assert services[host]["ports"] == [f"127.0.0.1:{port}:{port}"]
    for file in BOARDS:
        board = json.loads(file.read_text())
        (chosen,) = (one for one in board["templating"]["list"] if one["type"] == "datasource")
        assert chosen["query"] == source["type"]
        wanted = {panel["datasource"]["uid"] for panel in board["panels"] if "datasource" in panel}
        assert wanted <= {f"${{{chosen['name']}}}"}
