"""credentials.json on a real disk: what is written, what survives, what a kill leaves behind."""

import errno
import hashlib
import json
import math
import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kiroproxy import logs
from kiroproxy.accounts.store import NotSaved, Store
from kiroproxy.config import Config
from kiroproxy.errors import ConfigError

MakeStore = Callable[..., Store]
MakeEntry = Callable[..., dict[str, Any]]
ROTATED = "n" * 200


def content(path: Path) -> Any:
    return json.loads(path.read_text())


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def derived(token: str) -> str:
    return hashlib.sha256(b"KotlinNativeAPI/" + token.encode()).hexdigest()


class FullDisk:
    """Makes every new file fail while it is on, as a full or read-only disk does."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        code: int = errno.EROFS,
        refused: int = os.O_EXCL,  # O_CREAT: not even the lock file can be made
    ) -> None:
        self.is_on = True
        real = os.open

        def opened(file: Any, flags: int, *args: Any, **kwargs: Any) -> int:
            if self.is_on and flags & refused:
                raise OSError(code, os.strerror(code))
            return real(file, flags, *args, **kwargs)

        monkeypatch.setattr(os, "open", opened)


# -- loading -------------------------------------------------------------------------------


def test_a_missing_file_holds_nothing_and_is_not_made(make_store: MakeStore, path: Path) -> None:
    assert make_store().load() == []
    assert list(path.parent.iterdir()) == []


def test_ids_and_machine_ids_are_written_at_the_first_load(
    make_store: MakeStore, make_entry: MakeEntry, path: Path
) -> None:
    entries = [make_entry(), make_entry(id=4, refreshToken=ROTATED)]
    assert [each.id for each in make_store(entries).load()] == [5, 4]
    assert [each["id"] for each in content(path)] == [5, 4]
    assert content(path)[0]["machineId"] == derived("r" * 200)
    before = path.stat().st_ino
    Store(path, Config()).load()
    assert path.stat().st_ino == before, "nothing to repair, yet written again"


def test_a_configured_machine_id_is_not_copied_into_the_file(
    make_store: MakeStore, make_entry: MakeEntry, path: Path
) -> None:
    store = make_store(make_entry(id=1), config=Config(machine_id="ab" * 32))
    assert store.load()[0].machine_id == "ab" * 32
    assert "machineId" not in content(path)


def test_a_file_others_can_read_is_made_private_and_told(
    make_store: MakeStore, make_entry: MakeEntry, path: Path
) -> None:
    store = make_store(make_entry(id=1, machineId="ab" * 32))
    path.chmod(0o644)
    store.load()
    assert mode(path) == 0o600
    assert "0644" in store.warnings[0]


def test_a_faulty_credential_is_told_and_the_others_are_served(
    make_store: MakeStore, make_entry: MakeEntry, path: Path
) -> None:
    store = make_store([make_entry(refreshToken="abc..."), make_entry(), 5])
    first, second = store.load()
    assert first.fault
    assert not second.fault
    assert "truncated copy" in str(store.faults[0])
    assert f"{path}:3: credential 1" in str(store.faults[0])
    assert len(store.faults) == 2
    assert content(path)[2] == 5


def test_two_owners_of_one_token_are_told(make_store: MakeStore, make_entry: MakeEntry) -> None:
    store = make_store([make_entry(), make_entry()])
    assert [bool(each.fault) for each in store.load()] == [False, True]
    assert "same as credential 1" in str(store.faults[0])


def test_comments_are_read_and_their_loss_is_told(
    make_store: MakeStore, make_entry: MakeEntry
) -> None:
    store = make_store(text="// mine\n" + json.dumps([make_entry(id=1, machineId="ab" * 32)]))
    assert len(store.load()) == 1
    assert "comments" in store.warnings[0]


def test_looking_says_the_same_and_changes_nothing(
    make_store: MakeStore, make_entry: MakeEntry, path: Path
) -> None:
    store = make_store([make_entry(id=1, machineId="no"), make_entry(id=1, refreshToken=ROTATED)])
    path.chmod(0o644)
    before = path.stat().st_ino, path.read_bytes()
    looked = store.load(repair=False)
    assert (path.stat().st_ino, path.read_bytes()) == before and mode(path) == 0o644
    assert list(path.parent.iterdir()) == [path], "not even a lock file"
    told = " ".join(store.warnings)
    assert "0644" in told and "a second time" in told and "machineId" in told
    assert looked == store.load()


def test_a_key_that_stands_twice_is_told(make_store: MakeStore) -> None:
    text = f'[{{"refreshToken": "{"a" * 200}",\n"refreshToken": "{"b" * 200}"}}]'
    store = make_store(text=text)
    assert store.load()[0].refresh_token == "b" * 200
    assert "credentials.json:2: refreshToken: stands here again" in store.warnings[0]


@pytest.mark.parametrize("text", ['[{"a":\n}]', '"x"'])
def test_a_file_that_is_not_json_is_refused_and_kept(
    make_store: MakeStore, path: Path, text: str
) -> None:
    with pytest.raises(ConfigError, match=r"credentials\.json:\d"):
        make_store(text=text).load()
    assert path.read_text() == text


def test_a_directory_in_its_place_is_told(path: Path) -> None:
    path.mkdir()
    with pytest.raises(ConfigError, match="is a directory"):
        Store(path, Config()).load()


def test_the_key_of_the_environment_stays_in_memory(
    make_store: MakeStore, make_entry: MakeEntry, path: Path
) -> None:
    store = make_store(make_entry(), config=Config(kiro_api_key="ksk_environment"))
    for _ in range(2):
        assert [each.id for each in store.load()] == [1, 0]
    store.update(1, {"accessToken": "a"})
    assert "ksk_environment" not in path.read_text()
    reread = store.reload_one(0)
    assert reread is not None
    assert reread.kiro_api_key == "ksk_environment"


def test_a_key_that_the_file_has_too_is_there_once(make_store: MakeStore) -> None:
    store = make_store([{"kiroApiKey": "ksk_1"}], config=Config(kiro_api_key="ksk_1"))
    assert [each.id for each in store.load()] == [1]


@pytest.mark.parametrize("refused", [os.O_EXCL, os.O_CREAT])
def test_an_unwritable_directory_is_told_and_ids_stay_the_same(
    make_store: MakeStore, make_entry: MakeEntry, monkeypatch: pytest.MonkeyPatch, refused: int
) -> None:
    store = make_store([make_entry(), make_entry(id=2, refreshToken=ROTATED)])
    FullDisk(monkeypatch, refused=refused)
    assert [each.id for each in store.load()] == [3, 2]
    assert [each.id for each in store.load()] == [3, 2]
    assert "cannot be written" in store.warnings[0]
    assert "writable" in store.warnings[0]


# -- writing back --------------------------------------------------------------------------


@pytest.mark.parametrize("as_array", [False, True])
def test_the_form_unknown_fields_and_key_order_survive(
    make_store: MakeStore, make_entry: MakeEntry, path: Path, as_array: bool
) -> None:
    one = {"zzz": [1, {"ü": None}], **make_entry(id=1, machineId="ab" * 32), "provider": "Google"}
    store = make_store([one] if as_array else one)
    store.load()
    store.update(1, {"accessToken": "a", "refreshToken": ROTATED})
    found = content(path)
    assert isinstance(found, list) is as_array
    found = found[0] if as_array else found
    assert found == {**one, "accessToken": "a", "refreshToken": ROTATED}
    assert list(found) == [*one, "accessToken"]
    assert mode(path) == 0o600


def test_the_machine_id_outlives_the_token_it_came_from(
    make_store: MakeStore, make_entry: MakeEntry, path: Path
) -> None:
    store = make_store(make_entry())
    first = store.load()[0].machine_id
    store.update(1, {"refreshToken": ROTATED})
    assert Store(path, Config()).load()[0].machine_id == first == derived("r" * 200)


def test_the_machine_id_outlives_a_rewrite_by_a_program_that_does_not_know_it(
    make_store: MakeStore, make_entry: MakeEntry, path: Path
) -> None:
    store = make_store(make_entry())
    first = store.load()[0].machine_id
    path.write_text(json.dumps(make_entry(refreshToken=ROTATED)))
    reread = store.reload_one(1)
    assert reread is not None
    assert (reread.machine_id, reread.refresh_token) == (first, ROTATED)


def test_what_somebody_else_wrote_meanwhile_survives(
    make_store: MakeStore, make_entry: MakeEntry, path: Path
) -> None:
    store = make_store([make_entry(id=1), make_entry(id=2, refreshToken=ROTATED)])
    store.load()
    Store(path, Config()).update(2, {"accessToken": "theirs"})
    assert store.has_changed()
    store.update(1, {"accessToken": "ours"})
    assert [each["accessToken"] for each in content(path)] == ["ours", "theirs"]
    assert store.has_changed(), "nobody has loaded their change yet"
    store.load()
    store.update(1, {"accessToken": "again"})
    assert not store.has_changed(), "our own write is no news"


def test_another_refresh_token_in_the_file_is_not_overwritten(
    make_store: MakeStore, make_entry: MakeEntry, path: Path
) -> None:
    store = make_store(make_entry(id=1, machineId="ab" * 32))
    store.load()
    path.write_text(json.dumps(make_entry(id=1, refreshToken="l" * 200, accessToken="login")))
    found = store.update(1, {"accessToken": "stale"}, replacing="r" * 200)
    assert (found.access_token, content(path)["accessToken"]) == ("login", "login")


def test_none_removes_a_field(make_store: MakeStore, make_entry: MakeEntry, path: Path) -> None:
    store = make_store(make_entry(id=1, proxyUrl="http://p:1"))
    store.load()
    assert store.update(1, {"proxyUrl": None}).proxy is None
    assert "proxyUrl" not in content(path)


def test_a_link_is_written_through(
    make_store: MakeStore, make_entry: MakeEntry, path: Path, tmp_path: Path
) -> None:
    real = tmp_path / "elsewhere" / "real.json"
    real.parent.mkdir()
    real.write_text(json.dumps(make_entry()))
    path.symlink_to(real)
    store = make_store()
    store.load()
    store.update(1, {"accessToken": "a"})
    assert path.is_symlink()
    assert content(real)["accessToken"] == "a"
    assert mode(real) == 0o600


def test_an_unknown_id_is_refused(make_store: MakeStore, make_entry: MakeEntry) -> None:
    store = make_store(make_entry())
    store.load()
    with pytest.raises(ConfigError, match="no credential 9") as caught:
        store.update(9, {"accessToken": "a"})
    assert not isinstance(caught.value, NotSaved)


def test_add_and_remove(make_store: MakeStore, make_entry: MakeEntry, path: Path) -> None:
    store = make_store()
    store.load()
    added = store.add(make_entry(id=77, email="a@b"))
    assert (added.id, mode(path)) == (1, 0o600)
    assert content(path)[0]["machineId"] == derived("r" * 200)
    with pytest.raises(ConfigError, match="already here"):
        store.add(make_entry())
    with pytest.raises(ConfigError, match="truncated"):
        store.add(make_entry(refreshToken="abc"))
    store.remove(1)
    assert content(path) == []
    assert store.reload_one(1) is None


def test_an_entry_whose_token_is_no_text_does_not_keep_others_out(
    make_store: MakeStore, make_entry: MakeEntry, path: Path
) -> None:
    store = make_store([{"id": 1, "refreshToken": ["x"]}])
    store.load()
    assert store.add(make_entry()).id == 2
    with pytest.raises(ConfigError, match="already here"):
        store.add(make_entry(refreshToken=f" {'r' * 200} "))


# -- a disk that does not take it ----------------------------------------------------------


def test_a_token_that_cannot_be_written_is_kept_and_written_later(
    make_store: MakeStore, make_entry: MakeEntry, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store(make_entry(id=1, machineId="ab" * 32))
    store.load()
    disk = FullDisk(monkeypatch, errno.ENOSPC)
    with pytest.raises(NotSaved, match="Free some space") as caught:
        store.update(1, {"accessToken": "a", "refreshToken": ROTATED}, replacing="r" * 200)
    assert caught.value.credential.refresh_token == ROTATED
    reread = store.reload_one(1)
    assert reread is not None
    assert (reread.refresh_token, content(path)["refreshToken"]) == (ROTATED, "r" * 200)
    assert not store.save_unsaved()
    third = "3" * 200
    with pytest.raises(NotSaved):
        store.update(1, {"refreshToken": third}, replacing=ROTATED)
    disk.is_on = False
    assert store.save_unsaved()
    assert (content(path)["refreshToken"], content(path)["accessToken"]) == (third, "a")
    path.write_text(json.dumps(make_entry(id=1)))  # an old copy, opened before all this
    assert store.load()[0].refresh_token == third


def test_a_newer_login_in_the_file_beats_what_could_not_be_written(
    make_store: MakeStore, make_entry: MakeEntry, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store(make_entry(id=1, machineId="ab" * 32))
    store.load()
    disk = FullDisk(monkeypatch)
    with pytest.raises(NotSaved):
        store.update(1, {"refreshToken": ROTATED}, replacing="r" * 200)
    path.write_text(json.dumps(make_entry(id=1, refreshToken="l" * 200)))
    disk.is_on = False
    assert store.save_unsaved()
    assert content(path)["refreshToken"] == "l" * 200


@pytest.mark.parametrize("broken", ["", "{", "[]"])
def test_a_token_survives_a_file_that_is_broken_for_a_while(
    make_store: MakeStore, make_entry: MakeEntry, path: Path, broken: str
) -> None:
    before = make_entry(id=1, machineId="ab" * 32)
    store = make_store(before)
    store.load()
    path.write_text(broken) if broken else path.unlink()
    with pytest.raises(NotSaved) as caught:
        store.update(1, {"refreshToken": ROTATED}, replacing="r" * 200)
    assert caught.value.credential.refresh_token == ROTATED
    assert not store.save_unsaved()
    path.write_text(json.dumps(before))
    assert store.save_unsaved()
    assert content(path)["refreshToken"] == ROTATED


# -- an editor that saves an old copy ------------------------------------------------------


def test_saving_an_old_copy_does_not_lose_a_renewed_token(
    make_store: MakeStore, make_entry: MakeEntry, path: Path
) -> None:
    store = make_store(make_entry(id=1, machineId="ab" * 32))
    store.load()
    opened = content(path)
    for spent, renewed in (("r" * 200, ROTATED), (ROTATED, "3" * 200)):
        store.update(1, {"accessToken": "a", "refreshToken": renewed}, replacing=spent)
    path.write_text(json.dumps({**opened, "priority": 7}))
    (credential,) = store.load()
    assert (credential.refresh_token, credential.access_token) == ("3" * 200, "a")
    assert (content(path)["refreshToken"], content(path)["priority"]) == ("3" * 200, 7)


def test_a_new_login_is_no_old_copy(
    make_store: MakeStore, make_entry: MakeEntry, path: Path
) -> None:
    store = make_store(make_entry(id=1, machineId="ab" * 32))
    store.load()
    store.update(1, {"refreshToken": ROTATED}, replacing="r" * 200)
    path.write_text(json.dumps(make_entry(id=1, refreshToken="l" * 200)))
    assert store.load()[0].refresh_token == "l" * 200


def test_a_login_that_is_not_rotated_may_be_saved_again(
    make_store: MakeStore, make_entry: MakeEntry, path: Path
) -> None:
    store = make_store(make_entry(id=1, machineId="ab" * 32))
    store.load()
    store.update(1, {"accessToken": "a", "refreshToken": "r" * 200}, replacing="r" * 200)
    path.write_text(json.dumps(make_entry(id=1, accessToken="mine", machineId="ab" * 32)))
    assert store.load()[0].access_token == "mine"


# -- kills ---------------------------------------------------------------------------------


class Steps:
    """Counts what a thread does: every call and every return, of Python and of C."""

    def __init__(self, last: float = math.inf) -> None:
        self.done, self._last = 0, last

    def __call__(self, *_: object) -> None:
        self.done += 1
        if self.done > self._last:
            os.kill(os.getpid(), signal.SIGKILL)


def write(store: Store, numbers: range, steps: Steps) -> None:
    sys.setprofile(steps)
    try:
        for number in numbers:
            store.update(1, {"accessToken": f"a{number}", "refreshToken": f"{number:0200}"})
    finally:
        sys.setprofile(None)


def write_until_killed(path: Path, last_step: int) -> int:
    """Have a child write until it comes to a step; return how it ended."""
    child = os.fork()
    if child == 0:
        try:
            store = Store(path, Config())
            store.load()
            write(store, range(100, 10_000), Steps(last_step))
        finally:
            os._exit(1)
    return os.waitpid(child, 0)[1]


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_hundred_kills_at_any_moment_lose_nothing(
    make_store: MakeStore, make_entry: MakeEntry, path: Path
) -> None:
    store = make_store([make_entry(id=1, mine={"deep": ["x" * 5000]}), {**make_entry(), "id": 2}])
    store.load()
    three_writes = Steps()
    write(store, range(3), three_writes)
    chance = random.Random(7)
    latest = -1
    for _ in range(100):
        assert write_until_killed(path, chance.randrange(three_writes.done)) == signal.SIGKILL
        first, second = content(path)
        assert mode(path) == 0o600
        assert first["mine"] == {"deep": ["x" * 5000]}
        assert second["id"] == 2
        assert first["accessToken"][1:] == (first["refreshToken"].lstrip("0") or "0"), (
            "one write was seen in halves"
        )
        latest = max(latest, int(first["accessToken"][1:]))
    assert latest > 100, "no child came as far as a second write"
    Store(path, Config()).load()
    assert {each.name for each in path.parent.iterdir()} == {path.name, f".{path.name}.lock"}


class SystemCalls(Steps):
    """Counts what a thread does at the system's border: each such call, before it and after it."""

    def __call__(self, *told: object) -> None:
        _, event, function = told
        if event in ("c_call", "c_return") and getattr(function, "__module__", "") in (
            "posix", "fcntl", "_io", "io",
        ):  # fmt: skip
            self.made.append(f"{event} {getattr(function, '__name__', '')}")
            super().__call__()

    def __init__(self, last: float = math.inf) -> None:
        super().__init__(last)
        self.made: list[str] = []


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_kill_at_every_system_call_of_a_write_leaves_the_old_file_or_the_new(
    make_store: MakeStore, make_entry: MakeEntry, path: Path
) -> None:
    old = [make_entry(id=1, machineId="ab" * 32, accessToken="a0", refreshToken="0" * 200)]
    store = make_store(old)
    store.load()
    whole = SystemCalls()
    write(store, range(1, 2), whole)
    for name in ("flock", "fsync", "write", "replace", "fchmod"):
        assert {f"c_call {name}", f"c_return {name}"} <= set(whole.made), whole.made
    seen: list[str] = []
    for last in range(whole.done):
        path.write_text(json.dumps(old))
        child = os.fork()
        if child == 0:
            try:
                own = Store(path, Config())
                own.load()
                write(own, range(1, 2), SystemCalls(last))
            finally:
                os._exit(1)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL, whole.made[last]
        (entry,) = content(path)
        pair = entry["accessToken"], int(entry["refreshToken"])
        assert pair in (("a0", 0), ("a1", 1)), whole.made[last]
        assert mode(path) == 0o600
        seen.append(pair[0])
        # Whoever comes next starts from the newest that was durable, and finds no remains.
        (credential,) = Store(path, Config()).load()
        assert credential.access_token in ("a1", pair[0])
        assert {each.name for each in path.parent.iterdir()} == {path.name, f".{path.name}.lock"}
    assert seen == sorted(seen), "from the rename on it is the new one, and never the old again"
    assert {"a0", "a1"} == set(seen)


def test_the_store_finishes_a_write_that_was_killed_before_its_rename(
    make_store: MakeStore, make_entry: MakeEntry, path: Path
) -> None:
    store = make_store(make_entry(id=1, machineId="ab" * 32))
    leftover = path.with_name(f".{path.name}.1-ab.kiroproxy-tmp")
    leftover.write_text(json.dumps(make_entry(id=1, refreshToken=ROTATED)))
    assert store.load()[0].refresh_token == ROTATED
    assert not leftover.exists()


def test_half_a_write_is_cleared_away(
    make_store: MakeStore, make_entry: MakeEntry, path: Path
) -> None:
    store = make_store(make_entry(id=1, machineId="ab" * 32))
    leftover = path.with_name(f".{path.name}.1-ab.kiroproxy-tmp")
    leftover.write_text(json.dumps(make_entry(refreshToken=ROTATED))[:-5])
    assert store.load()[0].refresh_token == "r" * 200
    assert not leftover.exists()


@pytest.mark.parametrize(
    "key", ["accessToken", "refreshToken", "clientSecret", "kiroApiKey", "proxyPassword"]
)
def test_a_secret_that_was_read_is_shown_by_no_log_line(tmp_path: Path, key: str) -> None:
    value = f"form-nobody-knows-{key}-" + "s" * 120
    path = tmp_path / "credentials.json"
    path.write_text(json.dumps({"authMethod": "idc", key: value}))
    Store(path, Config()).load()
    assert value not in logs.mask(f"Kiro said: {value}!")
