"""The shared page as a file: who may read it, who removes it, and what a crash leaves."""

import os
import signal
import stat
from pathlib import Path

import pytest

from kiroproxy import errors
from kiroproxy.accounts.credential import Credential
from kiroproxy.accounts.page import CAPACITY, SharedPage, open_ring, rows_for, sweep
from kiroproxy.accounts.pool import Pool

NOW = 1_767_225_600_000


def pool_on(page: SharedPage, *ids: int) -> Pool:
    return Pool([Credential(id) for id in ids], ring=open_ring(page.path))


def test_nobody_else_can_open_it_and_it_is_gone_after_close(tmp_path: Path) -> None:
    page = SharedPage(2, tmp_path)
    assert stat.S_IMODE(os.stat(page.path).st_mode) == 0o600
    page.close()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileNotFoundError):
        open_ring(page.path)


def test_a_name_that_leads_elsewhere_is_not_followed(tmp_path: Path) -> None:
    page = SharedPage(2, tmp_path)
    (tmp_path / "link").symlink_to(page.path)
    with pytest.raises(OSError, match="symbolic"):
        open_ring(str(tmp_path / "link"))
    page.close()


def test_what_one_worker_learns_the_other_knows_at_once(tmp_path: Path) -> None:
    page = SharedPage(2, tmp_path)
    one = pool_on(page, 1, 2)
    pid = os.fork()
    if pid == 0:
        other = pool_on(page, 1, 2)
        lease = other.acquire(model_id="m", now_ms=NOW)
        other.report(lease, errors.Suspended("x"), NOW)
        lease.release()
        lease = other.acquire(model_id="m", now_ms=NOW)
        other.report(lease, errors.Throttled("x", retry_after_s=9), NOW)
        os._exit(0)
    os.waitpid(pid, 0)
    views = {view.credential.id: view for view in one.snapshot(NOW)}
    assert views[1].disabled_reason == "Suspended"
    assert views[2].cooling_until_ms == NOW + 9000
    assert views[2].in_flight == 1  # it died with its lease
    assert sweep(page.ring) == [pid]
    assert one.snapshot(NOW)[1].in_flight == 0
    with pytest.raises(errors.Throttled):
        one.acquire(model_id="m", now_ms=NOW)
    page.close()


def test_the_page_of_a_killed_supervisor_is_removed_by_the_next_start(tmp_path: Path) -> None:
    (tmp_path / "kiroproxy-notes.txt").write_text("not ours to remove")
    pid = os.fork()
    if pid == 0:
        SharedPage(2, tmp_path)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    (left,) = tmp_path.glob(f"kiroproxy-{os.getuid()}-*")
    page = SharedPage(2, tmp_path)
    assert not left.exists()
    beside = SharedPage(2, tmp_path)  # a second gateway on this machine
    assert Path(page.path).exists()
    page.close()
    beside.close()
    assert [path.name for path in tmp_path.iterdir()] == ["kiroproxy-notes.txt"]


def test_every_worker_of_the_largest_set_up_gets_a_row_even_while_it_restarts(
    tmp_path: Path,
) -> None:
    page = SharedPage(256, tmp_path)
    assert rows_for(256) == 512 and rows_for(1) >= 2
    pool_on(page, 1).acquire(model_id="m", now_ms=NOW).release()
    page.close()


def test_too_many_credentials_are_a_plain_fault_and_the_others_serve() -> None:
    full = Pool(map(Credential, range(CAPACITY)))
    with pytest.raises(errors.ConfigError, match="more than 16384 credentials"):
        full.sync([*map(Credential, range(CAPACITY + 1))])
    assert len(full.snapshot()) == CAPACITY
    full.acquire(model_id="m", now_ms=NOW).release()


# -- several workers -----------------------------------------------------------------------


def two_pools(page: SharedPage, *credentials: Credential) -> tuple[Pool, Pool]:
    return Pool(credentials, ring=page.ring), Pool(credentials, ring=page.ring)


def test_a_credential_that_left_the_file_is_asked_by_nobody_and_comes_back_clean(
    tmp_path: Path,
) -> None:
    page = SharedPage(2, tmp_path)
    page.ring.claim(os.getpid())
    one, other = two_pools(page, Credential(1))
    lease = one.acquire(model_id="m", now_ms=NOW)
    one.report(lease, errors.Throttled("x"), NOW)
    one.sync([])
    with pytest.raises(errors.NoCredential):
        other.acquire(model_id="m", now_ms=NOW + 3_600_000)
    one.sync([Credential(1)])
    assert one.acquire(model_id="m", now_ms=NOW).credential.id == 1
    assert other.acquire(model_id="m", now_ms=NOW).credential.id == 1
    page.close()


def test_a_worker_that_joins_late_changes_nothing(tmp_path: Path) -> None:
    page = SharedPage(2, tmp_path)
    page.ring.claim(os.getpid())
    one = Pool([Credential(1)], ring=page.ring)
    one.report(one.acquire(model_id="m", now_ms=NOW), errors.CredentialDead("x"), NOW)
    late = Pool([Credential(1)], ring=page.ring)
    assert late.snapshot()[0].disabled_reason == "InvalidRefreshToken"
    page.close()


def test_a_replaced_token_is_stale_for_the_others_until_they_adopt_it(tmp_path: Path) -> None:
    page = SharedPage(2, tmp_path)
    one, other = two_pools(page, Credential(1), Credential(2))
    assert other.stale() == []
    one.replace(Credential(2, access_token="new"))
    assert one.stale() == []
    ((id, generation),) = other.stale()
    assert id == 2 and other.stale() == [(id, generation)]  # until it is done
    other.adopt(Credential(2, access_token="new"), generation)
    assert other.stale() == [] and one.stale() == []
    taken_over = other.get(2)
    assert taken_over is not None and taken_over.access_token == "new"
    page.close()


def test_two_workers_that_replace_at_once_both_hear_of_the_other(tmp_path: Path) -> None:
    page = SharedPage(2, tmp_path)
    one, other = two_pools(page, Credential(1))
    one.replace(Credential(1, access_token="a"))
    other.replace(Credential(1, access_token="b"))
    assert other.stale() == [(1, 2)] and one.stale() == [(1, 2)]
    page.close()
