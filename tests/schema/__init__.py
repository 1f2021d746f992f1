"""schemathesis against real nodes, by the OpenAPI document that they serve.

``tox -e schema -- --examples 200 --seeds 5`` runs for long; a short run is part of the tests.
"""
