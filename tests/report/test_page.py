import html
import json
import re
import shutil
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest
import timm
from safetensors.torch import save_file

from alexnet_zoo.report import write_report
from alexnet_zoo.report.measured import read_sources
from alexnet_zoo.report.page import model_card
from alexnet_zoo.report.paper import load_paper
from alexnet_zoo.report.pictures import draw
from alexnet_zoo.train.recipe import load_recipe, save_recipe

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync"]  # fmt: skip
VOID = {"meta", "link", "img", "br", "hr", "input", "wbr"}


@pytest.fixture(scope="module")
def page(tmp_path_factory, made):
    """report.html of two runs, one of them of a row of the paper."""
    folder = tmp_path_factory.mktemp("page")
    curve = [dict(epoch=n, eval_top1=10 * n, eval_top5=50 + n, lr=0.01 / n) for n in (1, 2)]
    nasty = made.DIGITS | dict(model="<b>&amp;</b>", provider='"quoted"')
    digits = made.write_run(folder / "digits", made.DIGITS, nasty | dict(views=1), curve=curve)
    save_recipe(load_recipe("digits", ["epochs=5"]), digits / "recipe.toml")
    (digits / "environment.json").write_text('{"device": "a <device>", "versions": {"torch": "2"}, "processes": 2}')
    paper = made.write_run(folder / "one-cnn", made.VAL2012 | made.errors(40.9, 18.3))
    save_recipe(load_recipe("table2-one-cnn"), paper / "recipe.toml")
    return write_report([digits, paper], folder / "out")[0].with_name("report.html")


class Outline(HTMLParser):
    """Checks that tags close in order; collects headings, ids, links and images."""

    def __init__(self, text: str):
        super().__init__()
        self.open, self.headings, self.ids, self.found = [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        self.ids += [value for name, value in attributes if name == "id"]
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_whole_and_accessible(page):
    outline = Outline(page.read_text())
    tags = [tag for tag, _ in outline.found]
    assert outline.headings[0] == 1 and outline.headings.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(outline.headings, outline.headings[1:], strict=False))
    assert len(outline.ids) == len(set(outline.ids))
    assert {"main", "nav", "header", "caption"} <= set(tags) and ("html", {"lang": "en"}) in outline.found
    for tag, attributes in outline.found:
        if tag == "img":
            assert len(attributes["alt"]) > 20 and attributes["src"].startswith("data:image/")
        if tag == "a":
            held = attributes["href"].startswith(("data:", "figures/")) and attributes["download"]
            assert held or attributes["href"].removeprefix("#") in outline.ids
        if tag == "th":
            assert attributes["scope"] in ("row", "col")
        assert attributes.get("aria-labelledby", outline.ids[0]) in outline.ids


def test_the_page_says_what_was_measured_and_escapes_it(page):
    text = page.read_text()
    assert "40.90 [40.47, 41.33]" in text  # the interval by hand: 40.9 +- 1.96 * sqrt(.409 * .591 / 50000)
    assert text.count("5.00 [3.19, 7.76]") == 2  # of both views, in "Each run"
    assert text.index("<strong>40.90%</strong>") < text.index(" of 21 claims tried</h2>")
    assert "&lt;b&gt;&amp;amp;&lt;/b&gt;" in text and "<b>&amp;" not in text and "a &lt;device&gt;" in text
    assert "alexzoo reproduce digits --gpus 2 --set epochs=5" in text
    assert "http://" not in text and "https://" not in text


PROBE = """<script>
for (const details of document.querySelectorAll("details")) details.open = true;
const table = document.querySelector("#runs table"), heads = [...table.tHead.rows[0].cells];
const column = heads.findIndex((head) => head.innerText.includes("Top-1"));
const rows = () => [...table.tBodies[0].rows].map((row) => row.cells[column].innerText.trim());
const button = heads[column].querySelector("button"), seen = { width: innerWidth, before: rows() };
button.click(); seen.up = rows(); button.click(); seen.down = rows(); seen.sort = heads[column].ariaSort;
seen.loaded = [...document.images].every((image) => image.complete && image.naturalWidth > 0);
seen.wide = [...document.querySelectorAll("body *:not(.skip, .hidden, .hidden *, option)")]
  .filter((one) => one.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
  .map((one) => one.outerHTML.slice(0, 80));
const image = document.querySelector(".enlarge");
image.click(); seen.enlarged = document.querySelector("dialog").open && !!document.querySelector("dialog img").src;
document.querySelector("dialog button").click(); seen.closed = !document.querySelector("dialog").open;
const line = document.querySelector(".run"), box = document.querySelector("#curves input");
seen.shown = getComputedStyle(line).display; box.click(); seen.hidden = getComputedStyle(line).display; box.click();
const at = document.querySelector(".run polyline").points[0];
const { x, y } = new DOMPoint(at.x, at.y).matrixTransform(document.querySelector(".plot").getScreenCTM());
document.querySelector(".plot").dispatchEvent(new PointerEvent("pointermove", { clientX: x, clientY: y }));
seen.tip = document.querySelector("output").textContent;
const file = [...document.querySelectorAll("a[download='runs.csv']")][0].href.split(",")[1];
seen.file = atob(file).split("\\n")[0];
seen.svg = document.querySelector("a[data-of]").href.slice(0, 14);
seen.paper = getComputedStyle(document.body).backgroundColor;
seen.errors = errors; seen.requests = performance.getEntriesByType("resource").map((entry) => entry.name.slice(0, 20));
parent.postMessage(seen, "*");
</script></body>"""
EARLY = """<body><script>const errors = []; addEventListener("error", (e) => errors.push(e.message), true);
addEventListener("securitypolicyviolation", (e) => errors.push(e.blockedURI));
const logged = console.error; console.error = (...words) => errors.push(words.join(" "));</script>"""
WIDTHS = (1400, 800, 390)
FRAMES = """<body><script>const seen = [];
addEventListener("message", ({ data }) => { seen.push(data);
  if (seen.length === 3) document.title = "SEEN" + JSON.stringify(seen) + "SEEN"; });
</script>""" + "".join(f'<iframe src="probed.html" width="{w}" height="900" style="border:0"></iframe>' for w in WIDTHS)


def chromium(page, *arguments) -> subprocess.CompletedProcess:
    profile = f"--user-data-dir={page.parent / 'profile'}"
    command = [CHROMIUM, *FLAGS, profile, *arguments, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="module")
def frames(page):
    """A page that shows the report in three widths at once, and tells what was seen in each."""
    page.with_name("probed.html").write_text(page.read_text().replace("<body>", EARLY).replace("</body>", PROBE))
    page.with_name("frames.html").write_text(FRAMES)
    return page.with_name("frames.html")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (Debian: apt-get install chromium)")
@pytest.mark.parametrize(("scheme", "paper"), [("1", "rgb(255, 255, 255)"), ("0", "rgb(22, 24, 28)")])
def test_in_a_real_browser_light_and_dark(frames, scheme, paper):
    log = frames.with_name("network.json")
    options = ["--dump-dom", "--virtual-time-budget=5000", "--window-size=1500,900", f"--log-net-log={log}"]
    options += ["--enable-logging=stderr", f"--blink-settings=preferredColorScheme={scheme}"]
    ran = chromium(frames, *options)
    assert "CONSOLE" not in ran.stderr
    every = json.loads(html.unescape(re.search("SEEN(.*?)SEEN", ran.stdout)[1]))
    assert sorted(seen["width"] for seen in every) == sorted(WIDTHS)
    for seen in every:
        assert seen["errors"] == [] and all(name.startswith("data:") for name in seen["requests"]) and seen["loaded"]
        assert seen["wide"] == [], f"cut or scrolled at {seen['width']} pixels"
        assert [row.split()[0] for row in seen["before"]] == ["5.00", "5.00", "40.90"]
        assert seen["up"] == seen["before"] and seen["down"] == seen["before"][::-1] and seen["sort"] == "descending"
        assert seen["enlarged"] and seen["closed"] and (seen["shown"], seen["hidden"]) == ("inline", "none")
        assert seen["tip"] == "digits, test: 90.0% after 1 epochs"
        assert seen["file"].startswith("run,recipe,changed,seed,model,")
        assert seen["svg"] == "data:image/svg" and seen["paper"] == paper
    asked = re.findall(r'"url":"\w+://([^/"]+)', log.read_text())
    own = (".google.com", ".googleapis.com")  # what Chromium itself asks at its start
    assert all(host.endswith(own) for host in asked), asked


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (Debian: apt-get install chromium)")
def test_the_published_report_is_printed_on_ten_pages_at_most(page):
    pdf = page.with_name("report.pdf")
    published = Path(__file__).parents[2] / "reports" / "published" / "report.html"
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={page.parent / 'profile'}", f"--print-to-pdf={pdf}"]
    subprocess.run([*command, published.as_uri()], capture_output=True, timeout=60, check=True)
    assert 3 <= len(re.findall(rb"/Type\s*/Page\b", pdf.read_bytes())) <= 10


def test_model_card(tmp_path, made):
    yaml = pytest.importorskip("yaml")
    run = made.write_run(tmp_path / "one", made.VAL2012 | made.errors(40.9, 18.3))
    save_recipe(load_recipe("table2-one-cnn", ["lr=0.02"]), run / "recipe.toml")
    text = model_card(read_sources([run]).runs[0])
    _, head, body = text.split("---\n", 2)
    head = yaml.safe_load(head)
    assert head["license"] == "apache-2.0" and head["library_name"] == "timm"
    (result,) = head["model-index"][0]["results"]
    assert result["dataset"]["name"] == "ILSVRC-2012 val"
    assert [(m["name"], m["value"]) for m in result["metrics"]] == [
        ("Top-1 accuracy, 10 crops averaged", 59.1), ("Top-5 accuracy, 10 crops averaged", 81.7)
    ]  # fmt: skip
    for part in ("## Intended use", "## Limits", "## Licence", "| lr | 0.01 | 0.02 |", "40.90 [40.47, 41.33]"):
        assert part in body, part


def test_a_run_without_results_names_its_images_not_their_kind(tmp_path, made):
    curve = [dict(epoch=1, train_loss=1, eval_loss=1, eval_top1=1, eval_top5=1, lr=0.01)]
    run = made.write_run(tmp_path / "one", curve=curve)
    save_recipe(load_recipe("imagenette-quick"), run / "recipe.toml")
    (run / "data.json").write_text('{"name": "imagenette-128", "classes": []}')
    (run / "environment.json").write_text('{"command": "alexzoo reproduce --resume --out one"}')
    text = model_card(read_sources([run]).runs[0])
    assert "alexzoo reproduce imagenette-quick --data imagenette-128" in text and "- \"imagenette-128\"" in text


@pytest.mark.slow
def test_two_hundred_runs(tmp_path, made):
    """Under 30 s and 1 GiB for 200 runs of 90 epochs, in a process of its own."""
    curve = [dict(epoch=n, train_loss=1, eval_loss=1, eval_top1=n, eval_top5=n, lr=0.01) for n in range(1, 91)]
    for number in range(200):
        line = made.VAL2012 | made.errors(40 + number / 100, 18) | dict(onnx_sha256=str(number))
        made.write_run(tmp_path / "runs" / f"run{number:03d}", line, line | dict(views=1), curve=curve)
    script = (
        "import pathlib, sys; from alexnet_zoo.report import write_report;"
        "write_report([pathlib.Path(sys.argv[1])], pathlib.Path(sys.argv[2]));"
        "print(pathlib.Path('/proc/self/status').read_text())"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "runs"), str(tmp_path / "out")]
    start = time.monotonic()
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert time.monotonic() - start < 30
    peak = re.search(r"VmHWM:\s+(\d+) kB", ran.stdout)
    assert peak is None or int(peak[1]) < 1024**2  # the peak is told on Linux only
    assert (tmp_path / "out" / "report.md").read_text().count("| 1 CNN | 40.7 |") == 200


def test_figure_card_and_results_agree_and_the_cards_code_runs(tmp_path, made, monkeypatch):
    """The card and Figure 2 of a network for ten digits spoke of 1,000 classes."""
    recipe = load_recipe("digits", ["model_args.width_mult=0.125"])
    model = timm.create_model(recipe.model, num_classes=10, **recipe.model_args)
    count = sum(parameter.numel() for parameter in model.parameters())
    run = made.write_run(tmp_path / "ten", made.DIGITS | dict(param_count=round(count / 1e6, 2)))
    save_recipe(recipe, run / "recipe.toml")
    save_file(model.state_dict(), run / "model.safetensors")
    (run / "data.json").write_text(json.dumps({"classes": [str(n) for n in range(10)]}))
    results = read_sources([run])
    card = model_card(results.runs[0])
    monkeypatch.chdir(run)
    names = {}
    exec(re.search("```python\n(.*?)```", card, re.DOTALL)[1], names)
    assert sum(parameter.numel() for parameter in names["model"].parameters()) == count
    assert "10 classes" in card
    (figure2,) = [picture for picture in draw(load_paper(), results) if picture.name == "figure2"]
    assert "fc8 10 units" in figure2.alt

    made.write_results(run / "results.csv", made.DIGITS | dict(param_count=60.97))  # another network's
    results = read_sources([run])
    assert not any(picture.name.startswith("figure2") for picture in draw(load_paper(), results))
    assert any("60.97 million parameters" in problem for problem in results.problems)
    (run / "data.json").unlink()
    results = read_sources([run])
    assert "```python" not in model_card(results.runs[0])
    assert not any(picture.name.startswith("figure2") for picture in draw(load_paper(), results))


def test_figure1_names_the_images_it_was_trained_on(tmp_path, made):
    jpeg = made.DIGITS | dict(dataset="cifar", images=10_000, identity="CIFAR-10 as JPEG test, 10,000 images, complete")
    rows = [dict(epoch=n, train_top1=top1) for n, top1 in enumerate((60, 80), start=1)]
    for n, recipe in enumerate(("figure1-relu", "figure1-relu", "figure1-tanh")):
        made.write_run(tmp_path / "runs" / f"{n}", jpeg | dict(recipe=recipe, onnx_sha256=str(n)), curve=rows)
    pictures = {picture.name: picture for picture in draw(load_paper(), read_sources([tmp_path / "runs"]))}
    assert pictures["figure1"].caption.startswith("Error on the training images of CIFAR-10 as JPEG by epoch.")
    assert pictures["figure1"].alt.startswith("Training error of ReLU and tanh, to 25%")
