"""A burst beside the speed requests: waited for, and the request repeated by a prompt that nobody has asked; what lasts is no burst."""

from datetime import timedelta

import pytest

from fixtures.catalog.host import Competing, Guard, SpeedPlan
from fixtures.host.meanwhile import meanwhile
from fixtures.measure import interleaved, speed_requests
from fixtures.measure.pause import Pause
from fixtures.measure.speed_prompts import load_speed_prompts
from fixtures.measure.speed_requests import SpeedRequest, SpeedTask
from fixtures.records.base import utc_now
from fixtures.records.conditions import ProcessLoad, Snapshot

GUARD = Guard(competing=(Competing(name="asr", process="asr", max_cpu_pct=50.0),), window_s=1.0)
TASK = SpeedTask(SpeedPlan(warmup=1), load_speed_prompts("mix"), "chat", limits=GUARD)
BUSY = (ProcessLoad(name="asr", service="asr", pid=7, command="asr", cpu_pct=344.0),)


class Machine:
    """Stands in for the sampler: each look is one of the machine, busy as often as told, then quiet."""

    def __init__(self, busy_looks):
        self.busy_looks, self.snapshots = busy_looks, ()

    def take(self):
        self.busy_looks -= 1
        competing = BUSY if self.busy_looks >= 0 else ()
        self.snapshots += (Snapshot(at=utc_now(), load_1min=0.0, mem_available_mib=1.0, competing=competing),)


class Server:
    """Stands in for the server that is asked: it lives for so many looks."""

    def __init__(self, looks=10**6):
        self.looks = looks

    def death(self):
        self.looks -= 1
        return "" if self.looks >= 0 else "killed by signal 9"


class TestPause:
    """How long is waited, and for what."""

    def test_it_ends_a_window_after_the_burst(self):
        pause = Pause(GUARD, 60.0)
        assert pause.until_clear(Machine(2), Server())
        assert pause.waited_s >= GUARD.window_s
        assert not pause.in_vain
        assert pause.left_s == pytest.approx(60.0 - pause.waited_s)

    def test_what_does_not_end_is_waited_for_once(self):
        pause = Pause(GUARD, 1.5)
        assert not pause.until_clear(Machine(10**6), Server())
        assert (pause.in_vain, pause.left_s) == (True, 0.0)
        waited = pause.waited_s
        assert not pause.until_clear(Machine(0), Server())
        assert pause.waited_s == waited

    def test_nobody_waits_for_the_sake_of_a_server_that_was_stopped(self):
        pause = Pause(GUARD, 60.0)
        assert not pause.until_clear(Machine(10**6), Server(looks=1))
        assert (pause.in_vain, pause.left_s) == (True, 0.0)
        assert pause.waited_s < 30

    def test_without_an_eye_on_the_machine_nothing_is_waited_for(self):
        assert not Pause(GUARD, 60.0).until_clear(None, Server())


class Bursts:
    """Stands in for `answered`: places whose request is disturbed."""

    def __init__(self, *disturbed):
        self.disturbed, self.asked = set(disturbed), []

    def __call__(self, _server, _task, place, _sampler):
        now = utc_now()
        self.asked.append(place)
        busy = BUSY if place in self.disturbed else ()
        shot = Snapshot(at=now, load_1min=0.0, mem_available_mib=1.0, competing=busy)
        seen = meanwhile([shot], now - timedelta(seconds=1), now)
        return SpeedRequest(predicted_n=8, predicted_ms=1000.0, predicted_per_second=7.0, prompt=place, meanwhile=seen)


class Over:
    """A pause after which it is over, so many times."""

    def __init__(self, times):
        self.times = times

    def until_clear(self, _sampler, _server):
        self.times -= 1
        return self.times >= 0


def sent(monkeypatch, bursts, pause, most=9):
    monkeypatch.setattr(speed_requests, "answered", bursts)
    return list(speed_requests._requests(None, TASK, most, None, pause))


def test_a_disturbed_request_is_repeated_by_another_prompt_of_its_category(monkeypatch):
    bursts = Bursts(3)
    requests = sent(monkeypatch, bursts, Over(9))
    kinds, last = len(TASK.prompts.categories), TASK.prompts.count
    spare = next(place for place in range(last - 1, 0, -1) if place % kinds == 3 % kinds)
    assert bursts.asked == [0, 1, 2, 3, spare, *range(4, 9)]
    assert [request.instead_of for request in requests] == [None] * 4 + [3] + [None] * 5, "place 3 is the third that counts"


def test_no_prompt_is_asked_twice_however_often_a_burst_comes(monkeypatch):
    everything = range(TASK.prompts.count)
    bursts = Bursts(*everything)
    sent(monkeypatch, bursts, Over(10**6), TASK.prompts.count)
    assert sorted(bursts.asked) == list(everything)


def test_what_lasts_is_not_repeated(monkeypatch):
    bursts = Bursts(3, 4)
    sent(monkeypatch, bursts, Over(0))
    assert bursts.asked == list(range(9))


def test_a_warm_up_counts_for_nothing_and_is_not_repeated(monkeypatch):
    bursts = Bursts(0)
    sent(monkeypatch, bursts, Over(9))
    assert bursts.asked == list(range(9))


def test_where_sides_take_turns_the_next_request_waits_and_none_is_repeated(monkeypatch):
    bursts, pause = Bursts(1), Over(9)
    monkeypatch.setattr(interleaved, "answered", bursts)
    list(interleaved._requests(None, TASK, range(3), None, pause))
    assert (bursts.asked, pause.times) == ([0, 1, 2], 8)
