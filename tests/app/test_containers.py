"""compose.yaml and the Dockerfile: the rules of the Compose specification they have to keep, and ours.

``docker compose config`` itself is run where the plugin is installed.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SERVICE_KEYS = set(
    """
    build cap_add cap_drop command container_name cpus depends_on deploy entrypoint env_file
    environment extra_hosts healthcheck hostname image init labels logging mem_limit networks
    pid platform ports profiles pull_policy read_only restart secrets security_opt shm_size
    stop_grace_period stop_signal tmpfs tty ulimits user volumes working_dir expose privileged
    """.split()  # noqa: SIM905
)
TOP_KEYS = {"name", "services", "volumes", "networks", "secrets", "configs", "include"}


@pytest.fixture(scope="module")
def compose() -> dict:
    return yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))


def test_keeps_to_the_specification(compose: dict) -> None:
    assert {key for key in compose if not key.startswith("x-")} <= TOP_KEYS
    volumes = set(compose["volumes"])
    for name, service in compose["services"].items():
        assert set(service) <= SERVICE_KEYS, name
        assert "image" in service or "build" in service
        for needed, how in service.get("depends_on", {}).items():
            assert needed in compose["services"]
            assert how["condition"] in {
                "service_started",
                "service_healthy",
                "service_completed_successfully",
            }
        for volume in service.get("volumes", []):
            source, target, *mode = re.split(r":(?!-)", volume)
            assert target.startswith("/")
            assert not mode or mode == ["ro"]
            assert source in volumes or source.startswith(("/", ".", "$"))


def test_qdrant_is_pinned_locked_and_watched(compose: dict) -> None:
    qdrant = compose["services"]["qdrant"]
    assert re.fullmatch(r"qdrant/qdrant:v\d+\.\d+\.\d+", qdrant["image"])
    assert qdrant["environment"]["QDRANT__SERVICE__API_KEY"].startswith("${LUSIFER_QDRANT_API_KEY:?")
    assert "/readyz" in " ".join(qdrant["healthcheck"]["test"])
    assert "ports" not in qdrant


def test_the_app_needs_its_key_and_publishes_to_this_machine(compose: dict) -> None:
    app = compose["services"]["app"]
    assert app["environment"]["LUSIFER_API_KEY"].startswith("${LUSIFER_API_KEY:?")
    assert app["environment"]["LUSIFER_QDRANT_URL"] == "http://qdrant:6333"
    assert app["ports"] == ["${LUSIFER_PUBLISH:-127.0.0.1:8000}:8000"]
    assert app["read_only"] is True


def test_the_indexer_reads_documents_and_is_asked_for(compose: dict) -> None:
    indexer = compose["services"]["indexer"]
    assert indexer["profiles"] == ["indexer"]
    assert any(volume.endswith(":/documents:ro") for volume in indexer["volumes"])
    assert "LUSIFER_API_KEY" not in indexer["environment"]


def test_the_gpu_service_is_asked_for_and_has_torch(compose: dict) -> None:
    embeddings = compose["services"]["embeddings"]
    assert embeddings["profiles"] == ["gpu"]
    assert embeddings["build"]["target"] == "gpu"
    assert embeddings["environment"]["LUSIFER_API_KEY"].startswith("${LUSIFER_API_KEY:?")
    assert embeddings["read_only"] is True
    assert stages()["gpu"] == "runtime"


def test_settings_in_the_environment_exist(compose: dict) -> None:
    from app.settings import Settings

    known = {f"LUSIFER_{name.upper()}" for name in Settings.model_fields}
    for name in ("app", "indexer", "embeddings"):
        assert set(compose["services"][name]["environment"]) <= known


def stages() -> dict[str, str]:
    """The stages of the Dockerfile, by name: what each begins with."""
    text = (ROOT / "Dockerfile").read_text("utf-8")
    return {name: base for base, name in re.findall(r"^FROM (\S+) AS (\S+)$", text, re.MULTILINE)}


def test_the_images_run_as_nobody_special_and_say_how_they_are() -> None:
    text = (ROOT / "Dockerfile").read_text("utf-8")
    runtime = text.partition(" AS runtime\n")[2]
    assert "\nUSER lusifer\n" in runtime
    assert "/healthz" in runtime
    assert "pip install" not in runtime
    assert runtime.count("\nFROM runtime AS ") == runtime.count("\nFROM ") == 2
    assert list(stages())[-1] == "default"
    assert "constraints.txt" in text
    for copied in re.findall(r"^COPY (?!--)(.+) \S+$", text, re.MULTILINE):
        for source in copied.split():
            assert (ROOT / source).exists(), source


def test_only_what_the_image_needs_is_sent_to_its_build() -> None:
    lines = (ROOT / ".dockerignore").read_text("utf-8").split()
    assert "*" in lines
    allowed = {line[1:] for line in lines if line.startswith("!")}
    text = (ROOT / "Dockerfile").read_text("utf-8")
    copied = {
        source for part in re.findall(r"^COPY (?!--)(.+) \S+$", text, re.MULTILINE) for source in part.split()
    }
    assert copied == allowed


def test_docker_accepts_it() -> None:
    docker = shutil.which("docker")
    if (
        not docker
        or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode
    ):
        pytest.skip("docker with the compose plugin is not installed")
    keys = {"LUSIFER_API_KEY": "a", "LUSIFER_QDRANT_API_KEY": "b", "PATH": "/usr/bin:/bin"}
    command = [docker, "compose", "--profile", "indexer", "config", "--quiet"]
    done = subprocess.run(command, cwd=ROOT, env=keys, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    refused = subprocess.run(
        command, cwd=ROOT, env=keys | {"LUSIFER_API_KEY": ""}, capture_output=True, check=False
    )
    assert refused.returncode != 0
