"""What is free is the least that any level of the system leaves, read from tables as Linux writes them."""

import sys

import pytest

from medseg.core.memory import allowed_bytes, free_bytes, in_words

GIB = 2**30
NO_LIMIT_V1 = 9223372036854771712


@pytest.fixture
def machine(tmp_path):
    """A root with 16 GiB available, and a function that adds files to it."""

    def write(**files):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{text}\n")
        return tmp_path

    write(**{"proc/meminfo": f"MemTotal: 33554432 kB\nMemFree: 1 kB\nMemAvailable: {16 * 2**20} kB"})
    return write


def version_2(machine, path="/", mounted="/", point="/sys/fs/cgroup"):
    machine(
        **{
            "proc/self/cgroup": f"0::{path}",
            "proc/self/mountinfo": f"31 23 0:28 {mounted} {point} rw,nosuid shared:4 - cgroup2 cgroup2 rw",
        }
    )


def version_1(machine, path="/", mounted="/"):
    machine(
        **{
            "proc/self/cgroup": f"5:cpu,cpuacct:/somewhere\n4:memory:{path}\n0::/",
            "proc/self/mountinfo": "30 23 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
            f"35 31 0:32 {mounted} /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory",
        }
    )


def test_without_groups_it_is_what_the_machine_could_free(machine):
    assert free_bytes(machine()) == 16 * GIB


def test_nothing_is_known_where_there_are_no_tables(tmp_path):
    if sys.platform == "linux":
        assert free_bytes(tmp_path) is None
        assert allowed_bytes(None, tmp_path) is None
        assert allowed_bytes(5, tmp_path) == 5


def test_this_machine_tells():
    assert free_bytes() > 2**20


@pytest.mark.parametrize("level", ["", "system.slice/", "system.slice/job.service/", "system.slice/job.service/step/"])
def test_every_level_of_version_2_counts(machine, level):
    version_2(machine, "/system.slice/job.service/step")
    machine(**{"sys/fs/cgroup/system.slice/job.service/step/memory.max": "max"})
    root = machine(**{f"sys/fs/cgroup/{level}memory.max": 4 * GIB, f"sys/fs/cgroup/{level}memory.current": GIB})
    assert free_bytes(root) == 3 * GIB


def test_the_level_that_is_throttled_first_counts(machine):
    version_2(machine, "/a")
    root = machine(**{"sys/fs/cgroup/a/memory.max": 4 * GIB, "sys/fs/cgroup/a/memory.high": 2 * GIB})
    assert free_bytes(root) == 2 * GIB


@pytest.mark.parametrize("level", ["", "slurm/uid_7/", "slurm/uid_7/job_5/", "slurm/uid_7/job_5/step_0/"])
def test_every_level_of_version_1_counts(machine, level):
    version_1(machine, "/slurm/uid_7/job_5/step_0")
    at = f"sys/fs/cgroup/memory/{level}"
    machine(**{"sys/fs/cgroup/memory/memory.limit_in_bytes": NO_LIMIT_V1})
    root = machine(**{f"{at}memory.limit_in_bytes": 6 * GIB, f"{at}memory.usage_in_bytes": 2 * GIB})
    assert free_bytes(root) == 4 * GIB


def test_what_was_read_from_files_counts_as_free(machine):
    version_2(machine, "/a")
    at = "sys/fs/cgroup/a/"
    root = machine(
        **{
            f"{at}memory.max": 4 * GIB,
            f"{at}memory.current": 4 * GIB,
            f"{at}memory.stat": f"anon {GIB}\ninactive_file {2 * GIB}\nactive_file {GIB}",
        }
    )
    assert free_bytes(root) == 3 * GIB


def test_files_of_a_group_of_version_1_are_counted_once(machine):
    version_1(machine, "/a")
    at = "sys/fs/cgroup/memory/a/"
    root = machine(
        **{
            f"{at}memory.limit_in_bytes": 4 * GIB,
            f"{at}memory.usage_in_bytes": 4 * GIB,
            f"{at}memory.stat": f"inactive_file {GIB}\ntotal_inactive_file {2 * GIB}\ntotal_active_file 0",
        }
    )
    assert free_bytes(root) == 2 * GIB


def test_a_container_without_a_namespace_of_its_own_sees_its_group_at_the_mount(machine):
    version_1(machine, "/docker/abc/job", mounted="/docker/abc")
    root = machine(**{"sys/fs/cgroup/memory/job/memory.limit_in_bytes": GIB})
    assert free_bytes(root) == GIB


def test_a_group_outside_of_the_namespace_is_judged_by_the_mount(machine):
    version_2(machine, "/../other")
    root = machine(**{"sys/fs/cgroup/memory.max": GIB, "sys/fs/other/memory.max": 1})
    assert free_bytes(root) == GIB


def test_a_mount_may_lie_elsewhere_and_have_blanks(machine):
    version_2(machine, "/a", point="/mnt/my\\040groups")
    root = machine(**{"mnt/my groups/a/memory.max": GIB})
    assert free_bytes(root) == GIB


def test_a_group_that_is_full_leaves_nothing(machine):
    version_2(machine, "/a")
    root = machine(**{"sys/fs/cgroup/a/memory.max": GIB, "sys/fs/cgroup/a/memory.current": 2 * GIB})
    assert free_bytes(root) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="others do not tell what of the limit is taken")
def test_a_limit_on_addresses_counts():
    import subprocess

    code = (
        "import resource; from medseg.core.memory import free_bytes;"
        "resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31)); print(free_bytes())"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert 0 < int(said) < 2**31


def test_the_smaller_of_the_users_limit_and_what_is_free_is_allowed(machine):
    assert allowed_bytes(2 * GIB, machine()) == 2 * GIB
    assert allowed_bytes(99 * GIB, machine()) == 16 * GIB
    assert allowed_bytes(None, machine()) == 16 * GIB


def test_no_amount_is_a_bare_zero():
    assert in_words(0.01 * GIB) == "10.2 MiB"
    assert in_words(1023.9 * 2**20) == "1,024 MiB"
    assert in_words(200_000) == "195 KiB"
    assert in_words(1000) == "1,000 bytes"
