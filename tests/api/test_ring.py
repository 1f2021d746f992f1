"""The ring at both doors: pages, plans, hand-offs, and what is refused."""

from __future__ import annotations

from typing import Any

from tests.support.http import Response, SiteTestCase


class RingRestTests(SiteTestCase):
    async def post(self, path: str, body: Any) -> Response:
        return await self.request("POST", path, body)

    async def begin(self, *nodes: str, **size: Any) -> None:
        await self.post("/mring", {"size": 64, **size})
        for node in nodes:
            self.assertEqual((await self.post("/mring/node", {"node": node})).code, 200)

    async def test_plan_and_commit(self) -> None:
        """A plan says what would move; commit does exactly that, once."""
        await self.begin("n1", "n2", "n3", replicas=2)
        before = (await self.request("GET", "/mring/node")).json()
        wish = {"add": ["n4", {"name": "n5", "weight": 2}], "remove": ["n1"], "weights": {"n2": 2}}
        planned = await self.post("/mring/plan", wish)
        self.assertEqual(planned.code, 200)
        plan = planned.json()
        self.assertEqual(plan["moves"], plan["minimum"])
        self.assertEqual(plan["loads"]["before"], {"n1": 22, "n2": 21, "n3": 21})
        self.assertEqual(sum(plan["loads"]["after"].values()), 64)
        self.assertEqual(plan["violations"], {"before": 0, "after": 0})
        self.assertEqual((await self.request("GET", "/mring/node")).json(), before)
        done = await self.post("/mring/commit", {"plan": plan["plan"]})
        self.assertEqual(done.code, 200)
        loads = {node["id"]: len(node["vnodes"]) for node in done.json()}
        self.assertEqual(loads, plan["loads"]["after"])
        self.assertEqual((await self.post("/mring/commit", {"plan": plan["plan"]})).code, 409)

    async def test_refused(self) -> None:
        """Bad plans are refused with a reason, and leave the ring alone."""
        self.assertEqual((await self.post("/mring/plan", {"add": ["n1"]})).code, 412)
        self.assertEqual((await self.request("GET", "/mring/vnode/0")).code, 412)
        await self.begin("n1")
        before = (await self.request("GET", "/mring/node")).json()
        good = (await self.post("/mring/plan", {"add": ["n2"]})).json()["plan"]
        for body, code in (
            ({"add": ["n1"]}, 409),
            ({"remove": ["n2"]}, 404),
            ({"weights": {"n1": 0}}, 400),
            ({"weights": {"n2": 1}}, 404),
            ({"weights": {"n1": 1.5}}, 400),
            ({"weights": [1]}, 400),
            ({"add": ["x", "x"]}, 409),
            ({"add": [{"name": "x", "weight": 0}]}, 400),
            ({"add": [""]}, 400),
            ({"add": ["x"] * 5000}, 400),
            ({"what": []}, 400),
            ({"format": "words"}, 400),
            ([], 400),
        ):
            answer = await self.post("/mring/plan", body)
            self.assertEqual((answer.code, bool(answer.json()["detail"])), (code, True), body)
        for plan, code in (
            ({**good, "revision": good["revision"] + 1}, 409),
            ({**good, "add": ["n3"]}, 409),
            ({**good, "revision": -1}, 400),
            ({**good, "digest": "x" * 65}, 400),
            ({}, 400),
        ):
            answer = await self.post("/mring/commit", {"plan": plan})
            self.assertEqual(answer.code, code, plan)
        self.assertEqual((await self.request("GET", "/mring/node")).json(), before)
        self.assertEqual((await self.post("/mring/commit", {"plan": good})).code, 200)

    async def test_many_at_once(self) -> None:
        """A plan may name every node of the largest ring."""
        await self.begin()
        names = [f"node-{number:04}.example" for number in range(1024)]
        planned = await self.post("/mring/plan", {"add": names, "format": "ranges"})
        self.assertEqual(planned.code, 200)
        done = await self.post("/mring/commit", {"plan": planned.json()["plan"]})
        self.assertEqual((done.code, len(done.json())), (200, 1024))

    async def test_pages(self) -> None:
        """The ring is read in ranges, and some nodes at a time."""
        await self.begin("n1", "n2", "n3")
        found = (await self.request("GET", "/mring/node?format=ranges&start=1&count=1")).json()
        (node,) = found.pop("nodes")
        self.assertEqual(
            found, {"revision": 4, "size": 64, "strategy": "minimal", "replicas": 1, "count": 3}
        )
        self.assertEqual((node["id"], node["load"], node["ranges"]), ("n2", 21, [[32, 52]]))
        some = (await self.request("GET", "/mring/node?start=2&count=9")).json()
        self.assertEqual([(each["id"], len(each["vnodes"])) for each in some], [("n3", 21)])
        for query in ("format=x", "start=-1", "count=0", "start=a", "count=1&count=2"):
            self.assertEqual((await self.request("GET", f"/mring/node?{query}")).code, 400, query)

    async def test_continuous_by_name(self) -> None:
        """The original's placement is had by its name."""
        await self.begin("n1", "n2", "n3", size=8, strategy="continuous")
        ring = (await self.request("GET", "/mring/node")).json()
        self.assertEqual([node["vnodes"] for node in ring], [[0, 1, 2], [3, 4, 5], [6, 7]])

    async def test_vnode(self) -> None:
        """One vnode shows its owner, its target and its replicas."""
        await self.begin("n1", "n2", "n3", size=9, replicas=3)
        found = (await self.request("GET", "/mring/vnode/8")).json()
        self.assertEqual(
            (found["vnode"], found["state"], found["owner"] == found["target"]), (8, "owned", True)
        )
        self.assertEqual(sorted(found["replicas"]), ["n1", "n2", "n3"])
        for vnode, code in (("9", 404), ("x", 400), ("-1", 400), (str(2**24), 400)):
            self.assertEqual((await self.request("GET", f"/mring/vnode/{vnode}")).code, code)

    async def test_limits(self) -> None:
        """Limits of hand-offs are shown and set."""
        await self.begin("n1")
        limits = (await self.request("GET", "/mring/handoff")).json()["limits"]
        self.assertEqual(limits, {"per_node": 4, "in_all": 64})
        body = {"per_node": 1, "in_all": 2}
        self.assertEqual((await self.post("/mring/handoff/limits", body)).json(), body)
        self.assertEqual((await self.request("GET", "/mring/handoff")).json()["limits"], body)
        bad = {"per_node": 0, "in_all": 2}
        self.assertEqual((await self.post("/mring/handoff/limits", bad)).code, 400)
        self.assertEqual((await self.post("/mring/abandon", {"node": "n9"})).code, 404)
        self.assertEqual((await self.post("/mring/abandon", {"node": "n1"})).json(), {"vnodes": 0})


class RingSocketTests(SiteTestCase):
    async def test_handoff(self) -> None:
        """Nodes join, hand a vnode off, and renew their leases over the socket."""
        socket = await self.websocket("MRing")

        async def ask(name: str, **args: Any) -> Any:
            return await socket.ask({name: {"rid": 1, **args}})

        await ask("SetSize", size=8)
        leases = {}
        for node in ("n1", "n2"):
            joined = await ask("Join", node=node, instance="i", address=f"{node}:1", ttl=5)
            self.assertEqual((joined["code"], joined["data"]["ttl"]), (200, 5.0))
            leases[node] = joined["data"]["lease"]
        lease = leases["n1"]
        self.assertEqual((await ask("Renew", lease=lease))["code"], 200)
        self.assertEqual((await ask("Renew", lease=99))["code"], 404)
        waiting = (await ask("GetHandoffs", source="n1"))["data"]
        self.assertEqual([each["vnode"] for each in waiting["handoffs"]], [4, 5, 6, 7])
        begun = (await ask("BeginHandoff", vnode=4, lease=lease))["data"]
        self.assertEqual((begun["state"], begun["address"]), ("transferring", "n2:1"))
        await ask("CancelHandoff", vnode=4, lease=lease, began=begun["began"])
        refused = await ask("FinishHandoff", vnode=4, lease=lease, began=begun["began"])
        self.assertEqual(refused["code"], 409)
        begun = (await ask("BeginHandoff", vnode=4, lease=lease))["data"]
        done = await ask("FinishHandoff", vnode=4, lease=lease, began=begun["began"])
        self.assertEqual(done["data"]["owner"], "n2")
        await ask("Limit", per_node=1, in_all=1)
        await ask("BeginHandoff", vnode=5, lease=lease)
        self.assertEqual((await ask("BeginHandoff", vnode=6, lease=lease))["code"], 503)
        self.assertEqual((await ask("Abandon", node="n1"))["code"], 409)
        taken = await ask("Join", node="n1", instance="other", address="x:1")
        self.assertEqual(taken["code"], 409)

    async def test_plan(self) -> None:
        """Plans are made and committed over the socket, too."""
        socket = await self.websocket("MRing")
        await socket.ask({"SetSize": {"rid": 1, "size": 8}})
        plan = await socket.ask({"Plan": {"rid": 2, "add": ["n1", "n2"]}})
        done = await socket.ask({"Commit": {"rid": 3, "plan": plan["data"]["plan"]}})
        self.assertEqual([node["vnodes"][0] for node in done["data"]], [0, 4])
        page = await socket.ask({"GetNodes": {"rid": 4, "format": "ranges"}})
        self.assertEqual([node["ranges"] for node in page["data"]["nodes"]], [[[0, 3]], [[4, 7]]])
        found = await socket.ask({"GetVnode": {"rid": 5, "vnode": 5}})
        self.assertEqual(found["data"]["owner"], "n2")
        again = await socket.ask({"Commit": {"rid": 6, "plan": plan["data"]["plan"]}})
        self.assertEqual((again["code"], bool(again["error"]["detail"])), (409, True))
