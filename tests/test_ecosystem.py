"""What the project says of itself agrees: package, registry entry, citation, workflows and templates."""

from __future__ import annotations

import re
import tomllib
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
import yaml

import scflyformer as sf

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
URLS = PROJECT["urls"]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yaml"))
FORMS = sorted(set((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml")) - {ROOT / ".github/ISSUE_TEMPLATE/config.yml"})
FUNCTIONS = [f"{p}.{n}" for p in ("pp", "tl", "pl", "get", "models", "datasets") for n in getattr(sf, p).__all__]

# The terms that scverse's registry of ecosystem packages takes (scverse/ecosystem-packages, August 2026).
REQUIRED = (
    "name description project_home documentation_home install license tags primary_category language contact category"
)
CATEGORIES = {"Data structures", "scRNA-seq", "bulk RNA-seq", "Spatial", "Epigenomics", "Proteomics", "Multimodal"}
TAGS = {
    *("scRNA-seq", "multimodal", "preprocessing", "quality control", "denoising", "data integration"),
    *("cell-type annotation", "differential expression", "gene regulatory networks", "clustering"),
    *(
        "dimensionality reduction",
        "trajectory inference",
        "pseudotime",
        "perturbation",
        "visualization",
        "benchmarking",
    ),
    *("deep learning", "foundation model", "GPU acceleration", "pipeline", "interoperability"),
}


def read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def load(path: str | Path) -> dict:
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def check_release() -> ModuleType:
    spec = spec_from_file_location("check_release", ROOT / ".ci/check_release.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """The few files that a release is checked by, at version 1.2.0 and at an address of their own."""
    files = {
        "pyproject.toml": '[project]\nurls.Source = "https://github.com/lab/fly"\n',
        "src/scflyformer/_version.py": '"""The version."""\n\n__version__ = "1.2.0"\n',
        "CITATION.cff": "cff-version: 1.2.0\nversion: 1.2.0\n",
        "ecosystem/meta.yaml": "name: fly\n",
        "CHANGELOG.md": "# Changelog\n\n## [1.2.0] - 2030-01-01\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


# -- the registry's entry and the citation


def test_the_registrys_fields() -> None:
    meta = load("ecosystem/meta.yaml")
    assert set(REQUIRED.split()) <= set(meta)
    assert meta["category"] == "ecosystem"
    assert meta["primary_category"] in CATEGORIES
    assert set(meta["tags"]) <= TAGS
    assert len(meta["tags"]) == len(set(meta["tags"])) <= 10
    assert all(isinstance(user, str) for user in meta["contact"])
    assert len(meta["description"]) < 400


def test_the_registrys_entry_says_what_the_package_says() -> None:
    meta = load("ecosystem/meta.yaml")
    assert meta["name"] == meta["install"]["pypi"] == PROJECT["name"]
    assert meta["license"] == PROJECT["license"] == "BSD-3-Clause"
    assert read("LICENSE").startswith("BSD 3-Clause License")
    assert meta.get("version", sf.__version__) == sf.__version__
    assert meta["project_home"] == URLS["Source"]
    assert meta["documentation_home"] == URLS["Documentation"]
    assert meta["tutorials_home"].startswith(URLS["Documentation"] + "/")
    assert ".[dev]" in meta["test_command"] and "dev" in PROJECT["optional-dependencies"]


def test_the_citation_says_what_the_package_says() -> None:
    cited = load("CITATION.cff")
    assert {"cff-version", "message", "title", "authors"} <= set(cited)
    assert cited["version"] == sf.__version__
    assert cited["license"] == PROJECT["license"]
    assert (cited["repository-code"], cited["url"]) == (URLS["Source"], URLS["Documentation"])
    pages = read("README.md") + read("docs/cite.md")
    assert all(work["doi"] in pages for work in cited["references"])


def test_addresses_are_those_of_pyproject() -> None:
    pages = [*ROOT.glob("*.md"), *ROOT.glob("*.cff"), *(ROOT / "docs").glob("*.md"), *(ROOT / "ecosystem").iterdir()]
    pages += [path for path in (ROOT / ".github").rglob("*") if path.is_file()]
    own = re.compile(r"https://github\.com/[\w.-]+/scflyformer\b|https://scflyformer[\w.-]*\.readthedocs\.io")
    for page in pages:
        strange = set(own.findall(page.read_text(encoding="utf-8"))) - {URLS["Source"], URLS["Documentation"]}
        assert not strange, f"{page.relative_to(ROOT)} says {sorted(strange)}; [project.urls] says otherwise"


# -- releases


def test_versions_agree(check_release: ModuleType) -> None:
    assert check_release.package_version() == sf.__version__
    assert check_release.wrong_files() == []
    assert check_release.main([]) == 0


def test_a_release_that_agrees(check_release: ModuleType, elsewhere: Path) -> None:
    assert check_release.wrong_files(elsewhere) == []
    assert check_release.wrong_release("v1.2.0", "https://github.com/Lab/fly/", elsewhere) == []


@pytest.mark.parametrize(
    ("tag", "repository", "said"),
    [
        ("1.2.0", "https://github.com/lab/fly", "expected the tag v1.2.0"),
        ("v1.2.1", "https://github.com/lab/fly", "The tag is v1.2.1"),
        ("v1.2.0", "https://github.com/stranger/fly", "[project.urls] in pyproject.toml says"),
    ],
)
def test_a_release_from_elsewhere(
    check_release: ModuleType, elsewhere: Path, tag: str, repository: str, said: str
) -> None:
    (wrong,) = check_release.wrong_release(tag, repository, elsewhere)
    assert said in wrong


def test_a_release_without_its_changelog(check_release: ModuleType, elsewhere: Path) -> None:
    (elsewhere / "CHANGELOG.md").write_text("## [Unreleased]\n\n## [1.2.0rc1]\n", encoding="utf-8")
    (wrong,) = check_release.wrong_release("v1.2.0", "https://github.com/lab/fly", elsewhere)
    assert "no section [1.2.0]" in wrong


def test_files_that_were_forgotten(check_release: ModuleType, elsewhere: Path) -> None:
    (elsewhere / "CITATION.cff").write_text("cff-version: 1.2.0\nversion: '1.1.0'\n", encoding="utf-8")
    (elsewhere / "ecosystem/meta.yaml").write_text("version: 1.0.0\n", encoding="utf-8")
    first, second = check_release.wrong_files(elsewhere)
    assert "CITATION.cff says version 1.1.0, the package 1.2.0" in first
    assert "ecosystem/meta.yaml says version 1.0.0" in second


def test_the_check_of_a_release_fails_loudly(check_release: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert check_release.main(["--tag", "v0.0.0", "--repository", "https://github.com/stranger/fly"]) == 1
    said = capsys.readouterr().err
    assert "The tag is v0.0.0" in said and "[project.urls] in pyproject.toml says" in said
    with pytest.raises(SystemExit):
        check_release.main(["--tag", "v0.0.0"])


def test_only_a_checked_build_is_published() -> None:
    jobs = load(".github/workflows/release.yaml")["jobs"]
    assert set(jobs) == {"build", "publish"}
    publish = jobs["publish"]
    assert publish["needs"] == "build" and publish["if"] == "github.event_name == 'release'"
    assert publish["environment"]["name"] == "pypi"
    assert publish["permissions"] == {"id-token": "write"} and "permissions" not in jobs["build"]
    assert not any("run" in step for step in publish["steps"])
    runs = "\n".join(step.get("run", "") for step in jobs["build"]["steps"])
    order = [runs.index(part) for part in ("check_release.py", "-m build", "twine check --strict", "check_wheel.py")]
    assert order == sorted(order)
    assert "secrets." not in read(".github/workflows/release.yaml")


# -- continuous integration


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows(path: Path) -> None:
    workflow = load(path)
    triggers = workflow[True]  # "on", which YAML 1.1 reads as a truth value
    weekly = path.stem == "rulers"  # takes long, and needs packages of others
    assert ({"schedule", "workflow_dispatch"} if weekly else {"push", "pull_request"}) <= set(triggers)
    assert workflow["permissions"] == {"contents": "read"}
    for name, job in workflow["jobs"].items():
        assert job["timeout-minutes"] <= 60, name
        for step in job["steps"]:
            assert ("run" in step) != ("uses" in step), step
            assert re.fullmatch(r"[\w-]+/[\w.-]+@(v\d+|release/v1)", step.get("uses", "a/b@v1")), step
            if step.get("uses", "").startswith("actions/checkout"):
                assert step["with"]["persist-credentials"] is False
        assert set([job.get("needs", [])] if isinstance(job.get("needs"), str) else job.get("needs", [])) <= set(
            workflow["jobs"]
        )


def test_the_suite_runs_on_all_versions_that_are_promised() -> None:
    jobs = load(".github/workflows/test.yaml")["jobs"]
    pythons = jobs["test"]["strategy"]["matrix"]["python"]
    classified = [c.rsplit(" ", 1)[-1] for c in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", c)]
    assert pythons == classified
    assert PROJECT["requires-python"] == f">={pythons[0]}"
    targets = set(re.findall(r"^([a-z- ]+):(?!=)", read("Makefile"), flags=re.M))
    made = {target for line in targets for target in line.split()}
    for job, target in (("test", "test"), ("lowest", "test-lowest"), ("pre-releases", "test-pre")):
        assert any(step.get("run", "").startswith(f"make {target}") for step in jobs[job]["steps"])
        assert target in made
    assert set(jobs["passed"]["needs"]) == set(jobs) - {"passed"}


def test_every_requirement_has_a_floor() -> None:
    extras = [line for lines in PROJECT["optional-dependencies"].values() for line in lines]
    bare = [line for line in (*PROJECT["dependencies"], *extras) if ">=" not in line]
    assert {re.split(r"\[", line)[0] for line in bare} <= {"anndata", "scflyformer"}, bare  # extras of what has a floor


def test_hooks_and_continuous_integration_use_one_ruff() -> None:
    pinned = re.search(r"^ruff==(.+)$", read("constraints.txt"), flags=re.M)
    (hook,) = (repo for repo in load(".pre-commit-config.yaml")["repos"] if "ruff" in repo["repo"])
    assert pinned is not None and hook["rev"] == f"v{pinned[1]}"


def test_pages_are_built_as_here() -> None:
    built = load(".readthedocs.yaml")
    assert built["version"] == 2
    assert built["sphinx"] == {"configuration": "docs/conf.py", "fail_on_warning": True}
    assert any('".[doc]"' in line for line in built["build"]["jobs"]["install"])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_public_function_is_called_by_a_test(name: str) -> None:
    # That each stands in the API pages is checked by test_api.py.
    calls = re.compile(rf"\b{re.escape(name)}\(")
    assert any(calls.search(path.read_text(encoding="utf-8")) for path in (ROOT / "tests").rglob("test_*.py"))


# -- templates


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_issue_forms(path: Path) -> None:
    form = load(path)
    assert (
        {"name", "description", "body"} <= set(form) <= {"name", "description", "body", "labels", "title", "assignees"}
    )
    assert all(part["type"] in {"markdown", "textarea", "input", "dropdown", "checkboxes"} for part in form["body"])
    asked = [part for part in form["body"] if part["type"] != "markdown"]
    assert all(part["attributes"]["label"] for part in asked)
    assert any(part.get("validations", {}).get("required") for part in asked)
    ids = [part["id"] for part in asked]
    assert len(ids) == len(set(ids)) and all(re.fullmatch(r"[\w-]+", name) for name in ids)


def test_the_rest_of_the_templates() -> None:
    links = load(".github/ISSUE_TEMPLATE/config.yml")["contact_links"]
    assert all(set(link) == {"name", "url", "about"} for link in links)
    assert {entry["package-ecosystem"] for entry in load(".github/dependabot.yml")["updates"]} >= {
        "github-actions",
        "pip",
    }
    assert "https://scverse.org/about/code_of_conduct/" in read("CODE_OF_CONDUCT.md")
