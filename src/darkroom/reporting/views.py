"""Saved views of the dashboard, which put experiments side by side under what they are judged by.

MLflow's own page for runs keeps a view as a tag of an experiment, ``mlflow.sharedViewState.<key>``: a name, and the
state of the page as JSON, deflated. An address with ``viewStateShareKey=<key>`` opens it, over several experiments
with the tag of the first of them. That is how the page's share button does it in MLflow 3.17, and no documented
interface: should a later one read it differently, the addresses still open the same experiments, without the columns.
"""

import base64
import json
import urllib.parse
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from darkroom.reporting.boards import FAMILIES, spoken
from darkroom.tracking import tag
from darkroom.tracking.store import RunRecord

_TAG = "mlflow.sharedViewState."
_KIND = {"mlflow.experimentKind": "custom_model_development"}  # or MLflow takes runs for conversations
_LOGARITHMIC = ("fid", "mse")  # objectives that fall by orders of magnitude


@dataclass(frozen=True)
class View:
    """A named view of some experiments."""

    key: str
    name: str
    experiments: tuple[str, ...]  # ids, in the order in which MLflow's page sorts them
    tags: dict[str, str]

    def address(self, server: str) -> str:
        """Return what a browser opens it with."""
        chosen = "workflowType=machine_learning&compareRunsMode=CHART&viewStateShareKey=" + self.key
        if len(self.experiments) == 1:
            return f"{server}/#/experiments/{self.experiments[0]}/runs?{chosen}"
        listed = urllib.parse.quote(json.dumps(self.experiments, separators=(",", ":")))
        return f"{server}/#/compare-experiments/s?experiments={listed}&{chosen}"


def views(records: Iterable[RunRecord]) -> list[View]:
    """Return a view of everything, one of each family, and one of each objective that several families share."""
    judged = [record for record in records if record.objective is not None]
    families: dict[str, list[RunRecord]] = {}
    objectives: dict[str, list[RunRecord]] = {}
    for record in judged:
        name = record.params.get("model._target_", "").rpartition(".")[2]
        families.setdefault(FAMILIES.get(name, name), []).append(record)
        objectives.setdefault(_objective(record), []).append(record)
    made = [_view("all", "All families", judged)] if judged else []
    made += [_view(name.lower(), name, families[name]) for name in sorted(families) if name]
    for objective in sorted(objectives):
        sharing = {record.params.get("model._target_") for record in objectives[objective]}
        if len(sharing) > 1:
            made.append(_view(f"by-{objective}", f"All with {spoken(objective)}", objectives[objective]))
    return made


def _objective(record: RunRecord) -> str:
    assert record.objective is not None
    return record.objective[0].rpartition("/")[2]


def _view(key: str, name: str, records: list[RunRecord]) -> View:
    key = f"darkroom-{key}"
    newest = max(int(record.started.timestamp() * 1000) for record in records)
    modes = {_objective(record): record.objective[1] for record in records if record.objective}
    state = json.dumps(_state(sorted(modes), modes), sort_keys=True)
    packed = "deflate;" + base64.b64encode(zlib.compress(state.encode(), 9)).decode()
    envelope = {"name": f"Darkroom: {name}", "createdAt": newest, "updatedAt": newest, "state": packed}
    experiments = tuple(sorted({record.folder.parent.parent.name for record in records}))
    return View(key, name, experiments, {_TAG + key: json.dumps(envelope), **_KIND})


def _state(objectives: list[str], modes: dict[str, str]) -> dict[str, Any]:
    """Return the state of MLflow's page: sorted by the first objective, with columns and charts of each."""
    measured = [name for each in objectives for name in (f"test/{each}", f"test/{each}_oracle")]
    columns = ["attributes.`Experiment Name`", *(f"metrics.`{name}`" for name in measured)]
    columns += ["metrics.`cost/seconds`", f"tags.`{tag.HEALTH}`", "params.`seed`"]
    charts = [_chart(each) for each in objectives]
    return {
        "searchFilter": "",
        "orderByKey": f"metrics.`test/{objectives[0]}`",
        "orderByAsc": modes[objectives[0]] == "min",
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
        "selectedColumns": columns,
        "runsHiddenMode": "FIRST_20_RUNS",
        "compareRunCharts": charts,
        "compareRunSections": [
            {"uuid": "darkroom", "name": "What runs are judged by", "display": True, "isReordered": True,
             "deleted": False, "isGenerated": False, "columns": 2, "cardHeight": 420}
        ],
        "isAccordionReordered": True,  # what MLflow adds by itself comes after
        "hideEmptyCharts": True,
        "autoRefreshEnabled": True,
    }  # fmt: skip


def _chart(objective: str) -> dict[str, Any]:
    return {
        "type": "LINE",
        "uuid": f"darkroom-{objective}",
        "metricSectionId": "darkroom",
        "isGenerated": False,
        "deleted": False,
        "runsCountToCompare": 20,
        "metricKey": f"val/{objective}",
        "selectedMetricKeys": [f"val/{objective}"],
        "displayName": f"{spoken(objective)} on val, over images seen",
        "scaleType": "log" if objective in _LOGARITHMIC else "linear",
        "xAxisKey": "step",
        "yAxisKey": "metric",
        "useGlobalXaxisKey": False,
        "useGlobalLineSmoothing": False,
        "lineSmoothness": 0,
        "ignoreOutliers": False,
    }
