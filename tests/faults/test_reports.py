"""Figures and timeline of a run that was made up."""

from __future__ import annotations

from random import Random
from xml.etree import ElementTree

from twisted.trial.unittest import SynchronousTestCase

from tests.faults import timeline
from tests.faults.figures import Gap, gaps, lines, of_kinds, without_majority
from tests.faults.history import Call, Fault, History, Span

SECOND = 10**9


def fault(kind: str, began: float, ended: float, down: int, members: int = 3) -> Fault:
    began_ns, ended_ns = int(began * SECOND), int(ended * SECOND)
    return Fault(kind, "", began_ns, 0, ended_ns, down=down, members=members)


def written(*seconds: float) -> History:
    """Return a history in which writes were answered at these times."""
    history = History(Random(0), began=0)
    for number, at in enumerate(seconds):
        call = Call(1, "key-0", "put", int(at * SECOND) - 1000, f"v{number}", node=1, door="rest")
        call.known, call.returned = True, int(at * SECOND)
        history.calls.append(call)
    return history


class FigureTests(SynchronousTestCase):
    def test_time_without_a_leader(self) -> None:
        """The time between two answers counts if it is long, and a majority was there."""
        times = [SECOND, 2 * SECOND, 2 * SECOND + 1, 5 * SECOND]
        self.assertEqual([gap.seconds for gap in gaps(times)], [1.0, 2.999999999])
        excused = [Gap(3 * SECOND, 4 * SECOND)]
        self.assertEqual([gap.seconds for gap in gaps(times, excused)], [1.0, 0.999999999, 1.0])

    def test_two_faults_together(self) -> None:
        """Two faults that leave a majority each may leave none together."""
        self.assertEqual(without_majority([fault("kill", 1, 3, 1)]), [])
        both = [fault("kill", 1, 3, 1), fault("partition", 2, 5, 1)]
        self.assertEqual(without_majority(both), [Gap(2 * SECOND, 3 * SECOND)])
        self.assertEqual(without_majority([fault("kill", 1, 3, 2)]), [Gap(SECOND, 3 * SECOND)])

    def test_kinds(self) -> None:
        """Each kind has its count and the times without a leader around its faults."""
        history = written(0.5, 1.0, 1.1, 3.1, 3.2, 9.0, 9.1)
        history.faults += [fault("kill", 1.05, 2.5, 1), fault("kill", 20, 21, 1)]
        (kill,) = of_kinds(history)
        self.assertEqual((kill.count, [round(gap, 3) for gap in kill.gaps]), (2, [5.8, 0.0]))
        self.assertIn("kill", "\n".join(lines(history)))


class TimelineTests(SynchronousTestCase):
    def test_page(self) -> None:
        """The page is one file, well-formed, and shows faults, nodes, and a suspected key."""
        history = written(0.1, 0.2, 2.0)
        history.faults.append(fault("kill", 0.25, 1.5, 1))
        history.spans.append(Span(1, "up", 0, 2 * SECOND, "node 1"))
        history.spans.append(Span(1, "leader", 0, SECOND, "term 2"))
        history.violations.append("key-0: lost <everything>")
        page = timeline.write(history, ["a line & more"])
        self.assertNotIn("http://", page.replace("http://www.w3.org/2000/svg", ""))
        self.assertIn("lost &lt;everything&gt;", page)
        drawings = page.split("<svg xmlns")[1:]
        self.assertEqual(len(drawings), 2)
        for drawing in drawings:
            ElementTree.fromstring("<svg xmlns" + drawing.partition("</svg>")[0] + "</svg>")
        for text in ("kill", "term 2", "slot 1", "client 1"):
            self.assertIn(text, page)
