"""The page of runs, as text and in a browser."""

import dataclasses
import html
import json
import math
import re
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from darkroom.metrics.protocol import noted
from darkroom.reporting import page
from darkroom.reporting.told import Told
from darkroom.tracking import comparison, run, tag
from darkroom.tracking.store import RunRecord

MORNING = datetime(2025, 1, 1, tzinfo=UTC)
JUDGE = {"extractor": "digits", "extractor_hash": "1a2b3c4d5e", "generated_images": 1000, "real_images": 359}
ON_TEST = {**JUDGE, "data": "digits", "data_digest": "ab" * 32, "split": "test", "seed": 0}
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


@pytest.fixture
def made(tmp_path):
    """Make a run with what is on its disk and what the page is told of it; later calls are later runs."""
    told = []

    def make(name, values=None, *, params=None, tags=None, status="FINISHED", pictures=(), protocol=ON_TEST,
             objective=("val/fid", "min"), curve=(), cost=None, family="gan.Gan"):  # fmt: skip
        number = len(told) + 1
        folder = tmp_path / "mlruns" / "1" / f"{number:032x}" / "artifacts"
        (folder / "samples").mkdir(parents=True)
        if values is not None:
            (folder / "metrics.json").write_text(json.dumps({"test": {"values": values, "protocol": protocol}}))
        for picture in pictures:
            levels = np.random.default_rng(len(picture)).integers(0, 256, (24, 36, 3), dtype=np.uint8)
            Image.fromarray(levels).resize((360, 240), 0).save(folder / "samples" / picture)
        metrics = {f"cost/{key}": value for key, value in (cost or {}).items()}
        metrics |= {"val/fid": curve[-1][1]} if curve else {}
        judged = {tag.OBJECTIVE: objective[0], tag.OBJECTIVE_MODE: objective[1]} if values is not None else {}
        settings = {"model._target_": f"darkroom.models.{family}", "seed": "0", **(params or {})}
        started = MORNING + timedelta(hours=number)
        record = RunRecord(f"{number:032x}", name, "gan/digits", status, started, started, settings, metrics,
                           judged | (tags or {}), folder)  # fmt: skip
        told.append(Told(record, {"val/fid": list(curve), "train/loss": list(curve)} if curve else {}))
        return record

    make.told = told
    return make


def written(told, title=None, megabytes=6.0):
    return page.written(comparison.compare([each.record for each in told], noted), told, title, megabytes)


class Parsed(HTMLParser):
    """What stands in a page: tags with their attributes, texts, and whether tags close as they open."""

    VOID = frozenset({"meta", "img", "input", "br", "link"})

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self._open = [], [], []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, name, attributes):
        self.tags.append((name, dict(attributes)))
        if name not in self.VOID:
            self._open.append(name)

    def handle_startendtag(self, name, attributes):
        self.tags.append((name, dict(attributes)))

    def handle_endtag(self, name):
        assert self._open.pop() == name

    def handle_data(self, data):
        self.texts.append(data.strip())

    def all(self, name, **attributes):
        return [found for tag_name, found in self.tags if tag_name == name and attributes.items() <= found.items()]


CURVE = [(images, 60 / (1 + images / 500)) for images in range(0, 20_000, 500)]


@pytest.fixture
def several(made):
    """Two configurations, one of two seeds; another protocol; a run that failed and one that was killed; a grid."""
    sheets = [f"samples_{step:08d}.png" for step in (0, 1000, 2000)]
    cost = {"seconds": 61.0, "images_per_second": 400.0, "peak_memory_mb": 812.0, "parameters": 1.2e6}
    grid = made("grid over seed", params={"grid": "seed=0,1"})
    for seed, fid in ((0, 3.0), (1, 5.0)):
        made(f"seed={seed}", {"fid": fid, "fid_oracle": 0.5, "fid_noise": 90.0, "recall": 0.5},
             params={"seed": str(seed), "rate": "1"}, tags={tag.PARENT: grid.run_id, tag.HEALTH: "healthy"},
             pictures=sheets, curve=CURVE, cost=cost)  # fmt: skip
    made("other <b>rate</b>", {"fid": 9.0, "fid_oracle": 0.5, "fid_noise": 90.0, "recall": 0.25},
         params={"rate": "<script>alert(1)</script>"}, tags={tag.HEALTH: "mode collapse at 8,000 images"},
         pictures=[*sheets, "test_confusion_00002000.png"], curve=CURVE, cost=cost)  # fmt: skip
    made(
        "ten thousand",
        {"fid": 2.0},
        protocol={**ON_TEST, "generated_images": 10_000},
        family="vae.Vae",
        tags={tag.GIT_COMMIT: "c0ffee" * 6 + "beef", tag.GIT_DIRTY: "true", tag.COMMAND: "darkroom train model=vae"},
    )
    made("broken", status="FAILED", tags={tag.ENDED: "Diverged: loss became NaN </p><script>1</script>"})
    made("stopped", status="KILLED", tags={tag.ENDED: "interrupted by SIGTERM"}, curve=CURVE[:3])
    return made


def test_only_runs_of_one_protocol_stand_in_one_table(several):
    parsed = Parsed(written(several.told))
    rows = {found["data-run"] for found in parsed.all("tr") if "data-run" in found}
    assert rows == {each.record.run_id for each in several.told[1:]}  # all but what holds the grid, each once
    boards = comparison.compare([each.record for each in several.told], noted)
    first, second = page.boards(boards)
    assert [group.name for group in first.groups] == ["gan/digits", "other <b>rate</b>"]
    assert (first.groups[0].mean("test/fid"), first.groups[0].spread("test/fid")) == (4.0, math.sqrt(2))
    assert [row.run_name for row in second.rows] == ["ten thousand"]
    assert first.references == {
        "real train images": {"test/fid": (0.5, 0.5)},
        "noise": {"test/fid": (90.0, 90.0)},
    }
    assert first.verdict == (
        "gan/digits has the lowest mean test FID, 4 ± 1.4 (2 seeds), before other <b>rate</b> with 9; one seed does not"
        " tell how far seeds lie apart. To compare with: real train images 0.5; noise 90."
    )


def test_a_lead_within_the_spread_of_seeds_is_said_to_be_none(made):
    for rate, scores in (("1", (3.0, 5.0)), ("2", (3.5, 5.5))):
        for seed, fid in enumerate(scores):
            made(f"rate={rate} seed={seed}", {"fid": fid}, params={"rate": rate, "seed": str(seed)})
    (board,) = page.boards(comparison.compare([each.record for each in made.told]))
    assert [group.name for group in board.groups] == ["rate=1", "rate=2"]
    assert "the difference lies within the spread of their seeds" in board.verdict
    made("rate=2 seed=1", {"fid": 5.5}, params={"rate": "2", "seed": "1"})  # made again: no further seed
    (board,) = page.boards(comparison.compare([each.record for each in made.told]))
    assert [len(group.seeds) for group in board.groups] == [2, 2]
    assert board.groups[1].spread("test/fid") == math.sqrt(2)


def test_references_failures_and_origins_are_told(several):
    parsed = Parsed(written(several.told, title="For <you>"))
    text = "\n".join(parsed.texts)
    for expected in ("real train images", "noise", "mode collapse at 8,000 images", "interrupted by SIGTERM",
                     "For <you>", "grid over seed", "812", "1.2 million", "judge digits-1a2b3c4d",
                     "darkroom train model=vae", f"reproduce run={several.told[1].record.run_id[:8]}"):  # fmt: skip
        assert expected in text, expected
    assert "git checkout c0ffeec0ffee\ngit apply mlruns/1/" in text
    assert "with changes" in text


def test_nothing_of_a_run_is_taken_for_html(several):
    parsed = Parsed(written(several.told))
    assert len(parsed.all("script")) == 1
    assert not parsed.all("b", **{"class": "x"})
    assert "other <b>rate</b>" in parsed.texts
    assert any("loss became NaN </p><script>1</script>" in text for text in parsed.texts)


def evil(word):
    """Return a word that breaks out of texts, attributes and elements, wherever it is not escaped."""
    return f"{word}</p></script>'\"><script>alert(1)</script><i class=evil onload=alert(1)>"


def test_no_text_of_a_run_is_taken_for_html(made):
    """Whatever a person, a package or another machine can have put into a record."""
    protocol = {key: evil(value) if isinstance(value, str) else value for key, value in ON_TEST.items()}
    protocol |= {"level": evil("low"), evil("key"): evil("value")}
    spoken = {tag.HEALTH: "ill", tag.ENDED: "broke", tag.GIT_COMMIT: "c0ffee", tag.COMMAND: "darkroom", "other": "tag"}
    tags = {name: evil(word) for name, word in spoken.items()}
    tags |= {tag.FORKED_FROM: evil("f"), tag.DRIFT: json.dumps({evil("changed"): [evil("from"), evil("to")]})}
    holder = made(evil("grid"), tags=tags)
    for number, status in enumerate(("FINISHED", "KILLED", "FAILED", "RUNNING")):
        made(
            evil(f"run {number}"),
            {"fid": 3.0 + number, "fid_oracle": 0.5, evil("recall"): 0.5} if number < 2 else None,
            params={evil("rate"): evil(number), evil("model.rate"): evil(number)},
            tags={**tags, tag.PARENT: holder.run_id},
            status=status,
            pictures=["samples_00000001.png", "samples_00000002.png", "<i class=evil>_00000003.png"],
            protocol=protocol,
            cost={"seconds": 2.0},
            family=evil("gan.Gan"),
        )
    curves = {"val/fid": CURVE, "val/fid_oracle": CURVE, evil("train/loss"): CURVE}
    data = {evil("test"): (evil("digits"), evil("ab"))}
    machine = {"cpu": evil("cpu"), "gpus": [evil("gpu")], "python": evil("3"), "packages": {"torch": evil("2")}}
    records = [dataclasses.replace(each.record, experiment=evil("lab")) for each in made.told]
    parsed = Parsed(written([Told(record, curves, data, machine) for record in records], evil("title")))
    assert len(parsed.all("script")) == 1
    assert [found for _, found in parsed.tags if "onload" in found or "evil" in (found.get("class") or "")] == []
    assert sum("onload=alert(1)" in text for text in parsed.texts) > 100
    assert sum("onload=alert(1)" in str(value) for _, found in parsed.tags for value in found.values()) > 20


def test_the_page_needs_nothing_beside_itself(several):
    parsed = Parsed(written(several.told))
    for name in ("src", "href", "data", "action", "poster", "srcset"):
        for _, found in parsed.tags:
            assert found.get(name, "#").startswith(("#", "data:image/webp;base64,")), found
    assert not parsed.all("link")
    (policy,) = (found["content"] for found in parsed.all("meta") if found.get("http-equiv"))
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert all(found.get("alt") is not None for found in parsed.all("img"))
    assert all(found.get("scope") for found in parsed.all("th"))
    targets = {found["id"] for _, found in parsed.tags if "id" in found}
    assert {found["href"][1:] for found in parsed.all("a")} <= targets


def test_the_same_runs_make_the_same_bytes(several):
    assert written(several.told) == written(list(several.told))


def test_many_runs_take_no_more_than_their_pictures_may(made):
    for number in range(40):
        made(f"run {number}", {"fid": float(number)}, params={"rate": str(number)}, curve=CURVE,
             pictures=[f"samples_{step:08d}.png" for step in range(0, 3000, 500)])  # fmt: skip
    large, small = (written(made.told, megabytes=size) for size in (6.0, 0.2))
    pictures = [sum(map(len, re.findall(r'src="(data:[^"]*)"', text))) for text in (large, small)]
    assert pictures[1] < 0.4e6 < pictures[0] < 6.5e6
    assert len(Parsed(small).all("tr", **{"class": "point"})) == 0


def test_a_run_shows_its_last_picture_at_least_however_little_all_may_take(made):
    made("one", {"fid": 1.0}, pictures=["samples_00000010.png", "test_confusion_00000010.png"])
    parsed = Parsed(written(made.told, megabytes=1e-4))
    assert len(parsed.all("figure", **{"class": "sheet"})) == 1
    assert "1 series more in the run's folder." in parsed.texts


def test_a_picture_that_is_none_any_more_is_passed_over(made):
    record = made("half", {"fid": 1.0}, pictures=["samples_00000010.png"])
    (record.folder / "samples" / "samples_00000020.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert len(Parsed(written(made.told)).all("figure", **{"class": "sheet"})) == 1


def test_a_run_without_anything_has_its_place(made):
    made("nothing")
    parsed = Parsed(written(made.told))
    assert "Without a score" in parsed.texts
    assert "nothing" in parsed.texts


# --- the command ---


def test_what_is_no_report_is_not_written_over(project, typed, runs):
    code, out, err = typed("report runs=[painter,namer]")
    assert (code, out) == (0, ""), err
    assert "report.html" in err
    first = (project / "report.html").read_bytes()
    assert b"painter" in first
    assert typed("report experiment=gan/digits title=Digits")[0] == 0  # a report gives way to a report
    second = (project / "report.html").read_bytes()
    assert b"namer" not in second
    assert b"<h1>Digits</h1>" in second
    assert typed("report runs=[namer,painter]")[0] == 0
    assert (project / "report.html").read_bytes() == first  # whatever the order, the same runs make the same page
    (project / "mine.html").write_text("<p>mine</p>")
    (project / "folder.html").mkdir()
    for line, fragment in {
        "output=mine.html": "is no report",
        "output=folder.html": "is a folder",
        "output=page.pdf": "such as report.html",
        "runs=[nobody]": "No run's id begins with 'nobody'",
        "megabytes=0": "megabytes",
    }.items():
        code, out, err = typed(f"report {line}")
        assert (code, out, err.count("\n")) == (2, "", 1), err
        assert fragment in err, err
    assert (project / "mine.html").read_text() == "<p>mine</p>"
    assert list(project.glob(".*partial")) == []


def test_a_run_keeps_the_line_it_was_made_with_and_its_memory(runs):
    painter = runs()["painter"]
    assert painter.tags[tag.COMMAND].startswith("darkroom train name=painter profile=smoke ")
    assert painter.metrics["cost/peak_memory_mb"] > 50


def test_a_sweep_brings_its_points_along(root, store, typed):
    """Also with numbers of its own, as a sweep logs how many points it has finished."""
    for sweep in ("wide", "narrow"):
        with run.group(store, "lab", sweep, {}, {}) as parent:
            parent.log_metrics({"sweep/finished": 2}, 0)
            for number in range(2):
                with run.start(store, "lab", f"{sweep} point {number}", {}, {}, parent=parent.id, system_metrics=None):
                    pass
    assert typed(f"report runs=[wide] output={root}/report.html")[0] == 0
    texts = " ".join(Parsed((root / "report.html").read_text()).texts)
    assert all(f"wide point {number}" in texts for number in range(2))
    assert "narrow" not in texts


def test_no_runs_are_said_to_be_none(store, typed):
    code, _, err = typed("report")
    assert code == 2
    assert "Try: darkroom train" in err


# --- in a browser ---

PROBE = """<script>
addEventListener("load", () => {
  const found = { errors: window.failures };
  found.requests = performance.getEntriesByType("resource").map((each) => each.name);
  const pictures = [...document.querySelectorAll("main img")];
  found.pictures = pictures.map((picture) => picture.complete ? picture.naturalWidth : 0);
  found.rows = document.querySelectorAll("tr[data-run]").length;
  found.width = innerWidth;
  found.wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  const table = document.querySelector("#board-1 table");
  const first = () => [...table.tBodies].map((body) => body.rows[0].cells[1].textContent);
  const head = [...table.querySelectorAll("thead th")].find((each) => each.textContent.startsWith("FID"));
  found.unsorted = first();
  head.querySelector("button").click();
  found.ascending = [first(), head.getAttribute("aria-sort")];
  head.querySelector("button").click();
  found.descending = [first(), head.getAttribute("aria-sort")];
  const fold = table.querySelector(".fold");
  fold.click();
  found.folded = [...table.querySelectorAll("tr.member")].every((row) => row.offsetHeight === 0);
  const slider = document.querySelector(".steps");
  const shown = () => slider.closest("figure").querySelector("img:not([hidden])").alt;
  found.last = shown();
  slider.value = 0;
  slider.dispatchEvent(new Event("input"));
  found.earliest = shown();
  document.querySelector(".picture").click();
  found.enlarged = document.querySelector("dialog").open && document.querySelector("dialog img").alt;
  document.querySelector("dialog").close();
  const chart = document.querySelector("svg.chart"), box = chart.getBoundingClientRect();
  chart.dispatchEvent(new PointerEvent("pointermove",
    { clientX: box.left + box.width * .97, clientY: box.top + box.height / 2 }));
  found.tip = chart.parentElement.querySelector(".tip").textContent;
  const filter = document.getElementById("filter");
  filter.value = "collapse-free other";
  filter.dispatchEvent(new Event("input"));
  found.none = [...document.querySelectorAll(".run")].filter((card) => !card.hidden).length;
  filter.value = "OTHER";
  filter.dispatchEvent(new Event("input"));
  found.one = [...document.querySelectorAll(".run")].filter((card) => !card.hidden).length;
  parent.postMessage(JSON.stringify(found), "*");
});
</script>"""
# A window is never narrower than 500 pixels, a frame in it is.
FRAME = """<!doctype html><meta charset="utf-8"><pre id="probe"></pre><iframe width="%d" height="900"></iframe><script>
addEventListener("message", (event) => { document.getElementById("probe").textContent = event.data; });
document.querySelector("iframe").srcdoc = %s;
</script>"""


@pytest.fixture
def browse(tmp_path):
    """Return what a browser makes of an address at a width: its document, and what its console said."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip(f"No browser to open the page with: none of {', '.join(BROWSERS)} is installed.")

    def run(address, width):
        arguments = [
            *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
            *("--disable-component-update", "--disable-sync", "--enable-logging=stderr", "--virtual-time-budget=5000"),
            *(f"--user-data-dir={tmp_path / f'browser-{width}'}", f"--window-size={width},900", "--dump-dom", address),
        ]
        done = subprocess.run([browser, *arguments], capture_output=True, text=True, timeout=120, check=True)
        return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]

    return run


@pytest.mark.slow
@pytest.mark.parametrize("width", [400, 1400])
def test_the_page_works_in_a_browser(several, browse, tmp_path, width):
    text = written(several.told)
    path = tmp_path / "report.html"
    path.write_text(text)
    document, said = browse(path.as_uri(), width)
    assert said == []  # neither errors nor anything that the page's own policy had to keep it from
    # The copy that is looked into lacks the policy, which keeps every script out but the page's own.
    probed = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "<script>window.failures = []; "
                    "addEventListener('error', (event) => failures.push(event.message))</script>", text)  # fmt: skip
    probed = probed.replace("</body>", f"{PROBE}</body>")
    path.write_text(FRAME % (width, json.dumps(probed).replace("</", "<\\/")))
    document, said = browse(path.as_uri(), width)
    assert said == []
    probe = re.search(r'<pre id="probe">(.*?)</pre>', document, re.DOTALL)
    assert probe, document[-2000:]
    found = json.loads(html.unescape(probe[1]))
    assert found["errors"] == []
    assert [name for name in found["requests"] if not name.startswith("data:")] == []
    assert len(found["pictures"]) == 10
    assert min(found["pictures"]) > 0
    assert found["rows"] == len(several.told) - 1
    assert (found["width"], found["wide"]) == (width, 0)
    names = ["gan/digits2 seeds", "other <b>rate</b>", "real train images", "noise"]
    assert found["unsorted"] == names
    assert found["ascending"] == [[names[2], names[0], names[1], names[3]], "ascending"]
    assert found["descending"] == [[names[3], names[1], names[0], names[2]], "descending"]
    assert found["folded"]
    assert found["last"] == "samples of seed=0 at 2,000 images"
    assert found["earliest"] == "samples of seed=0 at 0 images"
    assert found["enlarged"] == "samples of seed=0 at 0 images"
    assert found["tip"].startswith("19,500 images seen")
    assert "seed=1" in found["tip"]
    assert (found["none"], found["one"]) == (0, 1)
