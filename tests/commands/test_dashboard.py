"""Saved views of MLflow's dashboard."""

import base64
import json
import urllib.parse
import zlib

from darkroom.reporting.views import views
from darkroom.tracking.store import Store

PREFIX = "mlflow.sharedViewState."


def opened(view):
    """Return the state of the page that a view holds, as MLflow's page unpacks it."""
    envelope = json.loads(view.tags[PREFIX + view.key])
    assert isinstance(envelope["createdAt"], int)
    head, _, packed = envelope["state"].partition(";")
    assert head == "deflate"
    return envelope["name"], json.loads(zlib.decompress(base64.b64decode(packed)))


def test_families_are_put_side_by_side(project, runs):
    made = {view.name: view for view in views(runs().values())}
    assert list(made) == ["All families", "Classifier", "GAN"]
    name, state = opened(made["GAN"])
    assert name == "Darkroom: GAN"
    assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`test/fid`", True)
    assert "metrics.`test/fid_oracle`" in state["selectedColumns"]
    (chart,) = state["compareRunCharts"]
    assert (chart["metricKey"], chart["xAxisKey"]) == ("val/fid", "step")
    assert chart["metricSectionId"] == state["compareRunSections"][0]["uuid"]
    _, everything = opened(made["All families"])
    assert [chart["metricKey"] for chart in everything["compareRunCharts"]] == ["val/accuracy", "val/fid"]
    assert everything["orderByAsc"] is False  # accuracy is the first, and more of it is better


def test_an_address_names_the_experiments_and_the_view(project, runs):
    everything, _, gan = views(runs().values())
    address = urllib.parse.unquote(everything.address("http://here"))
    assert address.startswith('http://here/#/compare-experiments/s?experiments=["1","2"]&')
    assert address.endswith("viewStateShareKey=darkroom-all")
    assert gan.address("http://here").startswith("http://here/#/experiments/")


def test_the_command_saves_the_views_once(project, typed, monkeypatch):
    code, out, err = typed("dashboard serve=false port=5123")
    assert code == 0, err
    assert [line.partition(": http://127.0.0.1:5123")[0] for line in out.splitlines()] == [
        "Every run",
        "All families",
        "Classifier",
        "GAN",
    ]
    tags = {found.name: found.tags for found in Store.open(project).client.search_experiments()}
    assert f"{PREFIX}darkroom-gan" in tags["gan/digits"]
    assert f"{PREFIX}darkroom-gan" not in tags["classifier/digits"]
    assert all(len(value) < 5000 for found in tags.values() for value in found.values())  # what MLflow keeps

    from mlflow.tracking import MlflowClient

    def refuse(*arguments):
        raise AssertionError(arguments)

    monkeypatch.setattr(MlflowClient, "set_experiment_tag", refuse)
    assert typed("dashboard serve=false port=5123") == (0, out, "")


def test_a_port_that_is_taken_is_said_to_be(project, typed):
    import socket

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        code, _, err = typed(f"dashboard port={port}")
    assert code == 2
    assert f"port={port} is taken" in err


def test_there_is_nothing_to_open_without_runs(root, typed):
    code, _, err = typed("dashboard")
    assert code == 2
    assert "Try: darkroom train" in err
