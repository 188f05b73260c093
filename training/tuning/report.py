"""What a study tried, as one HTML file that needs nothing else."""

from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path

import optuna
from jinja2 import Environment, StrictUndefined
from optuna import visualization
from optuna.trial import TrialState
from plotly.graph_objects import Figure
from plotly.offline import get_plotlyjs

from canicor.bundle import ModelKind
from training.tuning.search import FIGURES, LOWER, UPPER, parameters

# With fewer different figures an importance says nothing.
_FEWEST_FOR_IMPORTANCE = 5


def write_report(
    path: Path, study: optuna.Study, kind: ModelKind, subject: Mapping[str, object], command: str
) -> None:
    """Writes the history of the figure, the importance of each parameter, and every trial's choices.

    Args:
        path: The HTML file.
        study: With a best trial.
        kind: Of model.
        subject: What the study is about.
        command: That trains with the best choice.
    """
    completed = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    pruned = study.get_trials(deepcopy=False, states=(TrialState.PRUNED,))
    charts: dict[str, Callable[..., Figure]] = {
        "Every trial, and the best so far": visualization.plot_optimization_history
    }
    if len({trial.value for trial in completed}) >= _FEWEST_FOR_IMPORTANCE:
        charts["What the figure depends on"] = visualization.plot_param_importances
    charts["Every trial's choices"] = visualization.plot_parallel_coordinate
    environment = Environment(undefined=StrictUndefined, autoescape=True)
    template = environment.from_string(files("training.tuning").joinpath("report.html.j2").read_text("utf-8"))
    best, figure = study.best_trial, FIGURES[kind]
    html = template.render(
        study=study,
        figure=figure,
        best=best,
        parameters=parameters(best),
        interval=(best.user_attrs[LOWER], best.user_attrs[UPPER]),
        tried=len(completed) + len(pruned),
        pruned=len(pruned),
        subject=subject,
        command=command,
        charts={title: _html(draw(study, target_name=figure)) for title, draw in charts.items()},
        plotly=get_plotlyjs(),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(html, encoding="utf-8")


def _html(chart: Figure) -> str:
    """Returns a chart for a page that holds Plotly's script."""
    chart.update_layout(template="plotly_white", title=None, height=420, margin={"t": 40, "b": 60})
    html: str = chart.to_html(full_html=False, include_plotlyjs=False, config={"displayModeBar": False})
    return html
