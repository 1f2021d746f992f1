"""What is concluded from what nodes say."""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from tests.cli.doctor.sights import (
    GIB,
    NOW,
    ONE,
    TWO,
    address,
    dead,
    findings,
    gone,
    kinds,
    line,
    problem,
    sight,
    silent,
    without_leader,
)
from uring.cli.doctor import findings as kind
from uring.cli.doctor.clocks import HERE
from uring.cli.doctor.findings import ORDER, Finding, ordered
from uring.cli.doctor.look import FOREIGN, SILENT, TLS, UNAUTHORIZED, Sight
from uring.cli.doctor.members import is_nearly_full
from uring.cli.doctor.procfs import Process

TWO_LEFT = (line(1, age=0.0), line(2), gone(3))


class HealthyTests(SynchronousTestCase):
    def test_all_is_well(self) -> None:
        """Nothing is found where nothing is wrong, whoever is asked."""
        self.assertEqual(kinds(sight(1), sight(2), sight(3)), [])
        self.assertEqual(kinds(sight(2)), [])
        self.assertEqual(kinds(sight(1), evolve(sight(1), address="localhost:8080")), [])

    def test_older_nodes(self) -> None:
        """Nodes that do not tell as much yet are no reason for alarm."""
        told = ("id", "address", "member", "voter", "connected", "age", "applied_index")
        lines = tuple({name: line(each)[name] for name in told} for each in (1, 2, 3))
        seen = evolve(sight(1, *lines), clock=None, writes_ms=())
        self.assertEqual(kinds(seen), [])

    def test_order(self) -> None:
        """Every kind has its place, and each finding is shown once."""
        every = [value for name, value in vars(kind).items() if name.isupper() and name != "ORDER"]
        self.assertEqual(sorted(every), sorted(ORDER))
        found = [Finding(kind.CLOCK, "a", "t"), Finding(kind.NO_QUORUM, "a", "t")]
        self.assertEqual(ordered(found * 2), found[::-1])


class QuorumTests(SynchronousTestCase):
    def test_two_of_three_are_gone(self) -> None:
        """One survivor has no quorum: nothing else is said, and who is missing stands there."""
        survivor = without_leader(sight(1, line(1, age=0.0), gone(2), gone(3)))
        (found,) = findings((survivor, dead(2), dead(3)))
        self.assertEqual(found.kind, kind.NO_QUORUM)
        self.assertIn("2 of 3 voters", found.text)
        self.assertIn(address(3), found.evidence[1])
        self.assertIn(f"-e {address(2)} -i 2", found.next[0])
        self.assertIn("uring.recover --id 1", found.next[-1])

    def test_a_leader_that_does_not_know_yet(self) -> None:
        """The survivor may lead for a moment more; that helps nobody."""
        survivor = evolve(sight(1, line(1, age=0.0), gone(2), gone(3)), served="no answer")
        self.assertEqual(kinds(survivor, dead(2), dead(3)), [kind.NO_QUORUM])

    def test_nodes_that_do_not_hear_each_other(self) -> None:
        """Nodes that run and answer us, but reach nobody, are no quorum."""
        sights = [
            without_leader(
                sight(each, *(line(i, age=0.0) if i == each else gone(i) for i in (1, 2, 3)))
            )
            for each in (1, 2, 3)
        ]
        found = findings(sights)
        self.assertEqual(found[0].kind, kind.NO_QUORUM)
        self.assertIn("it runs, but the others do not reach it", found[0].evidence[0])

    def test_stopped(self) -> None:
        """A process of this machine that was stopped is to be continued."""
        survivor = without_leader(sight(1, line(1, age=0.0), gone(2), gone(3)))
        stopped = {address(2): Process(42, "twistd -n uring", "T")}
        (found,) = findings((survivor, silent(2), dead(3)), processes=stopped)
        self.assertIn("kill -CONT 42", found.next)

    def test_nobody_leads(self) -> None:
        """A quorum that can serve nothing has no leader, which is another thing."""
        sights = [without_leader(sight(each)) for each in (1, 2, 3)]
        self.assertEqual(kinds(*sights), [kind.NO_LEADER])

    def test_members_that_cannot_be_asked_from_here(self) -> None:
        """Who is heard by others is there, wherever we cannot reach it."""
        unasked = [dead(each, SILENT, named=False) for each in (2, 3)]
        self.assertEqual(kinds(sight(1), *unasked), [])
        self.assertEqual(kinds(sight(1), silent(2), unasked[1]), [kind.UNREACHABLE])


class MemberTests(SynchronousTestCase):
    def test_down(self) -> None:
        """Who refuses connections does not run."""
        (found,) = findings((sight(1, *TWO_LEFT), dead(3)))
        self.assertEqual((found.kind, found.text), (kind.MEMBER_DOWN, "it does not run"))

    def test_hangs_behind(self) -> None:
        """Who does not answer, and is known to have less than was committed, lags."""
        behind = gone(3, applied_index=80, match_index=90)
        (found,) = findings((sight(1, line(1, age=0.0), line(2), behind), silent(3)))
        self.assertEqual(found.kind, kind.LAGGING)
        self.assertIn("10 entries behind", found.text)

    def test_hangs_with_nothing_missing(self) -> None:
        """Who does not answer while nobody writes is down, as far as can be told."""
        self.assertEqual(kinds(sight(1, *TWO_LEFT), silent(3)), [kind.MEMBER_DOWN])

    def test_lags(self) -> None:
        """Who has not applied by now what was committed a moment ago lags; who has does not."""
        late = (line(1, age=0.0), line(2), line(3, applied_index=70))
        busy = (
            line(1, age=0.0, applied_index=200, commit_index=200),
            line(2, applied_index=190),
            line(3, applied_index=71),
        )
        found = findings([sight(1, *busy)], earlier=[sight(1, *late)])
        self.assertEqual([(each.kind, each.subject) for each in found], [
            (kind.LAGGING, f"node 3 ({address(3)})")
        ])  # fmt: skip
        self.assertIn("1 entries were applied since", " ".join(found[0].evidence))

    def test_cut_off(self) -> None:
        """Who answers us and is heard by no other lags once others went on."""
        cut = sight(3, gone(1), gone(2), line(3, age=0.0, applied_index=90), applied_index=90)
        ours = [sight(1, *TWO_LEFT), without_leader(cut)]
        found = findings(ours, earlier=ours)
        self.assertEqual([each.kind for each in found], [kind.LAGGING])
        self.assertIn("the others do not reach it", " ".join(found[0].evidence))

    def test_cut_off_while_nobody_writes(self) -> None:
        """Who answers us and is heard by no other is no member that serves."""
        cut = without_leader(sight(3, gone(1), gone(2), line(3, age=0.0)))
        (found,) = findings([sight(1, *TWO_LEFT), cut])
        self.assertEqual(found.kind, kind.MEMBER_DOWN)
        self.assertIn("do not reach it", found.text)

    def test_slow_disk(self) -> None:
        """Slow syncs now, slow writes lately, or a write that hangs: each is a slow disk."""
        now = evolve(sight(1), writes_ms=(1.0, 30.0, 30.0))
        lately = sight(1, line(1, age=0.0), line(2, log_write_mean_ms=40.0), line(3))
        hangs = sight(1, line(1, age=0.0), line(2), line(3, fault_codes=["disk"], faults=["hangs"]))
        for seen in (now, lately, hangs):
            self.assertEqual(kinds(seen), [kind.SLOW_DISK])
        self.assertIn("uring members transfer 2", findings([now])[0].next[0])
        once = evolve(sight(1), writes_ms=(1.0, 1.0, 300.0))
        self.assertEqual(kinds(once), [])

    def test_disk_nearly_full(self) -> None:
        """Less than the reserve, or little more than it."""
        for told in (
            {"fault_codes": ["space"]},
            {"disk_free": 200 << 20},
            {"disk_free": GIB // 2, "disk_total": 100 * GIB},
        ):
            seen = sight(1, line(1, age=0.0), line(2), line(3, **told))
            self.assertEqual(kinds(seen), [kind.DISK_FULL], told)
        self.assertFalse(is_nearly_full(-1, -1, 0))
        self.assertFalse(is_nearly_full(2 * GIB, 1000 * GIB, 0))

    def test_clock(self) -> None:
        """Whose clock differs from most is named, also where others have only heard of it."""
        ahead = evolve(sight(2), clock=(3600.0, 0.01))
        (found,) = findings((sight(1), ahead, sight(3)))
        self.assertEqual((found.kind, found.subject), (kind.CLOCK, f"node 2 ({address(2)})"))
        self.assertIn("3600.0 s ahead", found.text)
        told = sight(1, line(1, age=0.0), line(2), line(3, wall_time=NOW - 60))
        (found,) = findings([told])
        self.assertIn("59.5 s behind", found.text)
        ours = [evolve(sight(each), clock=(-60.0, 0.01)) for each in (1, 2, 3)]
        self.assertEqual([each.subject for each in findings(ours)], [HERE])


class StrangerTests(SynchronousTestCase):
    def stranger(self, node_id: int, *problems: dict[str, object], **changed: object) -> Sight:
        own = line(node_id, age=0.0, member=False, voter=False, instance="")
        lost = "f" * 32
        told = {"cluster": None, "instance": lost, "peer_problems": list(problems), **changed}
        return without_leader(sight(node_id, own, **told))

    def test_wiped(self) -> None:
        """A member that comes back with another directory has lost its disk."""
        members = sight(1, *TWO_LEFT, peer_problems=[problem("instance", 3)])
        wiped = self.stranger(3, problem("instance", 1, "there"))
        for sights in ((members, wiped), (members,), (evolve(members, named=False), wiped)):
            (found,) = findings(sights)
            self.assertEqual((found.kind, found.subject), (kind.WIPED, f"node 3 ({address(3)})"))
            self.assertEqual(
                found.next,
                (
                    f"uring -e {address(1)} members remove 3",
                    f"uring -e {address(1)} members add 3 {address(3)}",
                ),
            )
        (found,) = findings([wiped])
        self.assertEqual(found.kind, kind.WIPED)

    def test_two_wiped(self) -> None:
        """Without a quorum nobody can be removed: recovery is what is left."""
        refused = [problem("instance", 2), problem("instance", 3)]
        left = (line(1, age=0.0), gone(2), gone(3))
        found = findings([without_leader(sight(1, *left, peer_problems=refused))])
        self.assertEqual([each.kind for each in found], [kind.NO_QUORUM, kind.WIPED, kind.WIPED])
        self.assertIn("uring.recover --id 1", " ".join(found[1].next))

    def test_founder(self) -> None:
        """A wiped member that was told to found a cluster has done so."""
        alone = sight(3, line(3, age=0.0, instance="f" * 32), cluster=TWO, instance="f" * 32)
        refusal = problem("cluster", 3)
        (found,) = findings((sight(1, *TWO_LEFT, peer_problems=[refusal]), alone))
        self.assertEqual((found.kind, found.subject), (kind.WIPED, f"node 3 ({address(3)})"))
        self.assertIn(TWO, found.evidence[0])

    def test_id_taken(self) -> None:
        """While the member is there, who calls itself by its id is another."""
        told = problem("instance", 3, where="10.0.0.9:8080")
        (found,) = findings([sight(1, peer_problems=[told])])
        self.assertEqual((found.kind, found.subject), (kind.ID_TAKEN, "the node at 10.0.0.9:8080"))

    def test_two_clusters(self) -> None:
        """Endpoints of two clusters are told apart, and each cluster is looked after."""
        other = sight(9, line(9, age=0.0), cluster=TWO, leader=9)
        (found,) = findings((sight(1), other))
        self.assertEqual((found.kind, found.subject), (kind.WRONG_CLUSTER, "the endpoints"))
        self.assertIn(f"{ONE}: {address(1)}", found.evidence[0])
        hinted = Sight(address(9), True, UNAUTHORIZED, "who are you?", hint=(9, TWO))
        self.assertIn(kind.WRONG_CLUSTER, kinds(sight(1), hinted))

    def test_peer_of_another_cluster(self) -> None:
        """Who refuses whom for its cluster is told once, from whichever side it is seen."""
        other = evolve(sight(9, line(9, age=0.0), cluster=TWO, leader=9), named=False)
        here = sight(1, peer_problems=[problem("cluster", 9, "there")])
        there = evolve(other, status={**other.status, "peer_problems": [problem("cluster", 1)]})
        (found,) = findings((here, there))
        self.assertEqual(found.kind, kind.WRONG_CLUSTER)
        self.assertIn(f"without --peer {address(9)}", found.next[0])

    def test_led_astray(self) -> None:
        """A node that nobody added, and whose --peer is of another cluster than the endpoints."""
        found = findings((sight(1), self.stranger(4, connected_clusters=[TWO])))
        self.assertEqual([each.kind for each in found], [kind.WRONG_CLUSTER])
        self.assertIn(f"--peer {address(1)}", found[0].next[0])

    def test_not_added(self) -> None:
        """A node that waits to be added; one that was removed; one that knows nobody."""
        (found,) = findings((sight(1), self.stranger(4, connected=[1])))
        self.assertEqual(found.kind, kind.NOT_A_MEMBER)
        self.assertEqual(found.next, (f"uring -e {address(1)} members add 4 {address(4)}",))
        removed = sight(4, gone(1), line(4, age=0.0, member=False), applied_index=50)
        self.assertIn(kind.NOT_A_MEMBER, kinds(sight(1), removed))
        (found,) = findings([self.stranger(4)])
        self.assertIn("--bootstrap", found.next[0])

    def test_distrust(self) -> None:
        """Secrets and certificates that do not fit."""
        for code in ("secret", "certificate", "tls", "version"):
            self.assertEqual(kinds(sight(1, peer_problems=[problem(code, 9)])), [kind.REFUSED])

    def test_what_is_over(self) -> None:
        """What was met some time ago is over."""
        told = {**problem("cluster", 9), "age": 20.0}
        self.assertEqual(kinds(sight(1, peer_problems=[told])), [])


class AddressTests(SynchronousTestCase):
    def test_unreachable(self) -> None:
        """An address that nobody knows as a member's."""
        self.assertEqual(kinds(sight(1), dead(9)), [kind.UNREACHABLE])

    def test_port_taken(self) -> None:
        """Something else answers, or takes connections and says nothing."""
        process = Process(42, "nc -l 8080", "S")
        garbled = Sight(address(3), True, FOREIGN, "404")
        hung = Sight(address(3), True, SILENT, "no answer in time")
        for seen in (garbled, hung):
            found = findings((sight(1, *TWO_LEFT), seen), processes={address(3): process})
            self.assertEqual(found[0].kind, kind.PORT_TAKEN)
            self.assertEqual(found[0].next[0], "kill 42")
            self.assertIn("nc -l 8080", " ".join(found[0].evidence))

    def test_without_a_token(self) -> None:
        """What nodes tell everybody is used."""
        checks = ("leader failed: none known", "disk failed: 1000 bytes left")
        told = Sight(address(1), True, UNAUTHORIZED, "who are you?", checks=checks, hint=(1, ONE))
        self.assertEqual(kinds(told), [kind.NO_QUORUM, kind.DISK_FULL, kind.UNAUTHORIZED])

    def test_tls(self) -> None:
        """How to speak to it stands there."""
        for detail, advice in (
            ("status 400: This port speaks TLS: use https://.", "-e https://10.0.0.1:8080"),
            ("TLS failed: wrong version number", "-e 10.0.0.1:8080"),
            ("TLS failed: certificate verify failed", "--ca FILE"),
            ("its certificate is for another name", "subjectAltName"),
        ):
            (found,) = findings([Sight(f"https://{address(1)}", True, TLS, detail)])
            self.assertIn(advice, found.next[0])
