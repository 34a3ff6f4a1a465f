"""
What is under deploy/ fits the program: the systemd unit, the image, the Cloud Run services, compose.

There is no container engine here, so the image is not built; what its file says is held against the repository instead.
"""

import fnmatch
import os
import re
import shlex
import shutil
import subprocess

import pytest
import yaml

from harness import program, scratch
from harness.sources import read, tracked

EXPOSURE_MOST = 1.3  # of 10; by `systemd-analyze security`


def settings():
    """{name: kind} of what mitrad can be told."""
    rows = re.findall(r"^SETTING\((\w+), \w+, (\w+),", read("common/settings.def"), re.MULTILINE)
    return {name: kind for kind, name in rows}


def is_a_setting(name):
    known = settings()
    return name in known or (name.endswith("_FILE") and known.get(name[: -len("_FILE")]) in ("secret", "url"))


def holds_a_secret(name):
    return settings().get(name) in ("secret", "url")


# ---- systemd


def systemd_analyze(*arguments):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "SYSTEMD_PAGER": "cat"}
    return subprocess.run(
        ["systemd-analyze", *arguments], env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def unit():
    """{key: [value, …]} of the unit's [Service]."""
    found = {}
    for key, value in re.findall(r"^(\w+)=(.*)$", read("deploy/mitrad.service"), re.MULTILINE):
        found.setdefault(key, []).append(value)
    return found


def test_systemd_understands_every_line_of_the_unit():
    installed = os.path.join(scratch.directory("unit"), "mitrad.service")
    with open(installed, "w", encoding="utf-8") as file:
        file.write(read("deploy/mitrad.service").replace("/usr/local/sbin/mitrad", program.binary()))
    done = systemd_analyze("verify", "--man=no", installed)
    assert done.returncode == 0
    # It complains of other units of this machine, too.
    assert [line for line in (done.stdout + done.stderr).splitlines() if "mitrad" in line] == []


def test_the_unit_exposes_little():
    done = systemd_analyze("security", "--offline=true", os.path.join(program.REPOSITORY, "deploy/mitrad.service"))
    level = re.search(r"Overall exposure level for mitrad.service: ([\d.]+)", done.stdout)
    assert level, done.stdout + done.stderr
    assert float(level[1]) <= EXPOSURE_MOST


def test_the_unit_leaves_the_program_the_time_it_may_take():
    defaults = program.run("check", settings={"DATABASE_URL": "dbname=x"}, check=True).stdout

    def seconds(name):
        return int(re.search(rf"^{name}=(\d+)$", defaults, re.MULTILINE)[1])

    assert int(unit()["TimeoutStopSec"][0]) > seconds("SHUTDOWN_GRACE_SECONDS")
    assert int(unit()["TimeoutStartSec"][0]) > seconds("STARTUP_TIMEOUT_SECONDS")


def test_the_unit_starts_and_reloads_as_the_program_wants_it():
    assert unit()["Type"] == ["notify"]
    assert unit()["ExecReload"] == ["/bin/kill -HUP $MAINPID"]
    assert unit()["RestartPreventExitStatus"] == ["2"]
    assert unit()["KillMode"] == ["mixed"]
    path, *arguments = shlex.split(unit()["ExecStart"][0])
    assert path == "/usr/local/sbin/mitrad"
    assert arguments == ["serve", "--config", "/etc/mitrad/mitrad.conf"]


def test_the_units_user_is_created():
    assert read("deploy/mitrad.sysusers").splitlines()[-1].split()[:2] == ["u", unit()["User"][0]]
    if shutil.which("systemd-sysusers"):
        file = os.path.join(program.REPOSITORY, "deploy/mitrad.sysusers")
        done = subprocess.run(["systemd-sysusers", "--dry-run", file], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


# ---- the image


def instructions():
    """[(word, rest), …] of the Dockerfile, continued lines joined."""
    text = re.sub(r"\\\n\s*", " ", read("deploy/Dockerfile"))
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [tuple(line.split(None, 1)) for line in lines]


def stages():
    """The instructions of each stage, its FROM first."""
    found = []
    for word, rest in instructions():
        if word == "FROM":
            found.append([])
        found[-1].append((word, rest))
    return found


def of(word, stage):
    return [rest for found, rest in stage if found == word]


KNOWN_INSTRUCTIONS = {"FROM", "RUN", "WORKDIR", "COPY", "USER", "ENV", "EXPOSE", "STOPSIGNAL", "ENTRYPOINT", "CMD"}


def test_the_dockerfile_has_two_stages_of_known_instructions():
    assert {word for word, _ in instructions()} <= KNOWN_INSTRUCTIONS
    assert [of("FROM", stage) for stage in stages()] == [["debian:trixie-slim AS build"], ["debian:trixie-slim"]]


def reaches_the_engine(path):
    """By .dockerignore: the last pattern that fits decides."""
    reaches = True
    for line in read(".dockerignore").splitlines():
        if line and not line.startswith("#"):
            pattern = line.lstrip("!")
            if fnmatch.fnmatch(path, pattern) or path.startswith(pattern + "/"):
                reaches = line.startswith("!")
    return reaches


def copied_from_here():
    build = stages()[0]
    return [source for rest in of("COPY", build) for source in rest.split()[:-1]]


def test_everything_that_is_copied_into_the_image_exists_and_is_not_ignored():
    assert copied_from_here()
    for source in copied_from_here():
        assert os.path.exists(os.path.join(program.REPOSITORY, source))
        assert reaches_the_engine(source)
    for kept_out in (".dev/secrets", ".git/config", "build/server/mitrad", "deploy/secrets/database_url"):
        assert not reaches_the_engine(kept_out)


def test_everything_that_the_build_reads_is_copied_into_the_image():
    wanted = ["meson.build", "meson_options.txt", *re.findall(r"^subdir\('(\w+)'\)", read("meson.build"), re.MULTILINE)]
    wanted += [path.split("/")[0] for path in re.findall(r"install_man\('([^']+)'\)", read("meson.build"))]
    assert set(wanted) <= set(copied_from_here())


def test_the_image_is_built_as_the_readme_says():
    (said,) = re.findall(r"^meson setup .*$", read("README.md"), re.MULTILINE)
    assert said in of("RUN", stages()[0])


def test_the_image_is_built_from_the_packages_that_install_packages_names():
    wanted = re.search(r'^wanted="([^"]+)"', read("deploy/install-packages"), re.MULTILINE)[1].split()
    installed = re.search(r"--no-install-recommends (.+?) &&", of("RUN", stages()[0])[0])[1].split()
    assert set(installed) <= set(wanted)
    assert {name for name in wanted if name.startswith("lib")} <= set(installed)


def test_apt_is_used_in_one_step_that_leaves_nothing_behind():
    for run in of("RUN", [each for stage in stages() for each in stage]):
        if "apt-get" in run:
            assert re.search(r"apt-get update && .*apt-get install -y --no-install-recommends", run)
            assert run.endswith("rm -rf /var/lib/apt/lists/*")


def test_the_image_runs_the_program_itself_as_somebody_without_rights():
    final = stages()[-1]
    assert of("ENTRYPOINT", final) == ['["/usr/local/sbin/mitrad"]']
    assert of("CMD", final) == ['["serve"]']
    user = of("USER", final)[-1]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    assert f"--uid {user.split(':')[0]}" in " ".join(of("RUN", final))
    (copied,) = of("COPY", final)
    assert copied.split()[-1] == "/usr/local/sbin/mitrad"


def test_the_image_holds_settings_and_no_secrets():
    for rest in of("ENV", stages()[-1]):
        name = rest.partition("=")[0]
        assert is_a_setting(name)
        assert not holds_a_secret(name)


# ---- Cloud Run


ROLES = ["public", "internal", "sweeper"]


def service(role):
    return yaml.safe_load(read(f"deploy/cloudrun-{role}.yaml"))


def container(role):
    (found,) = service(role)["spec"]["template"]["spec"]["containers"]
    return found


@pytest.mark.parametrize("role", ROLES)
def test_a_service_serves_its_role_with_its_cpu_always_on(role):
    annotations = service(role)["spec"]["template"]["metadata"]["annotations"]
    assert container(role)["args"] == ["serve", "--role", role]
    assert annotations["run.googleapis.com/cpu-throttling"] == "false"
    assert int(annotations["autoscaling.knative.dev/minScale"]) >= 1


@pytest.mark.parametrize("role", ROLES)
def test_a_service_is_probed_where_it_listens(role):
    port = container(role)["ports"][0]["containerPort"]
    for probe, path in (("startupProbe", "/readyz"), ("livenessProbe", "/livez")):
        assert container(role)[probe]["httpGet"] == {"path": path, "port": port}
        assert f'"{path}"' in read("server/routes.def")


@pytest.mark.parametrize("role", ROLES)
def test_a_service_waits_as_long_as_a_start_may_take(role):
    probe = container(role)["startupProbe"]
    assert 60 < probe["periodSeconds"] * probe["failureThreshold"] <= 240


@pytest.mark.parametrize("role", ROLES)
def test_a_services_settings_exist_and_its_secrets_are_secrets(role):
    for variable in container(role)["env"]:
        assert is_a_setting(variable["name"])
        assert ("secretKeyRef" in variable.get("valueFrom", {})) == holds_a_secret(variable["name"])


@pytest.mark.parametrize("role", ROLES)
def test_a_services_environment_is_accepted_by_the_program(role):
    given = {variable["name"]: variable.get("value") for variable in container(role)["env"]}
    secrets = {
        "VALKEY_URL": "redis://10.0.0.3:6379",
        "DATABASE_URL": "host=/cloudsql/PROJECT:REGION:mitrad user=mitrad dbname=mitrad password=x",
        "AUTH_JWT_SECRET": "0" * 64,
        "PORT": "3000",
    }
    done = program.run("check", "--role", role, settings={**given, **secrets})
    assert done.returncode == 0, done.stderr


def test_the_roles_differ_only_where_they_must():
    with_secrets = [
        [variable for variable in container(role)["env"] if "valueFrom" in variable] for role in ROLES
    ]
    assert with_secrets[0] == with_secrets[1] == with_secrets[2]
    assert len({container(role)["image"] for role in ROLES}) == 1


# ---- compose


def compose():
    return yaml.safe_load(read("deploy/compose.yaml"))


def test_compose_migrates_before_it_serves():
    services = compose()["services"]
    assert services["migrate"]["command"] == ["migrate"]
    assert services["mitrad"]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"


def test_compose_gives_settings_that_exist_and_secrets_that_are_declared():
    declared = compose()["secrets"]
    for name in ("migrate", "mitrad"):
        service_ = compose()["services"][name]
        assert all(is_a_setting(setting) for setting in service_["environment"])
        for setting, value in service_["environment"].items():
            if setting.endswith("_FILE"):
                assert value.removeprefix("/run/secrets/") in service_["secrets"]
        assert set(service_["secrets"]) <= set(declared)


def test_compose_closes_the_containers_and_the_operators_listener():
    service_ = compose()["services"]["mitrad"]
    assert service_["read_only"] is True
    assert service_["cap_drop"] == ["ALL"]
    assert [port for port in service_["ports"] if port.endswith(":3001")] == ["127.0.0.1:3001:3001"]


def test_composes_valkey_evicts_nothing():
    command = compose()["services"]["valkey"]["command"]
    assert command[command.index("--maxmemory-policy") + 1] == "noeviction"


def test_no_secret_lies_in_the_repository():
    assert [path for path in tracked("deploy/secrets/*")] == []
    assert "/deploy/secrets/" in read(".gitignore")
