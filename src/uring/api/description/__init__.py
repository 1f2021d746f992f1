"""What the doors speak, for machines: OpenAPI for REST, AsyncAPI for the WebSocket.

``python -m uring.api.description`` puts both documents together, from the structs that decode
requests and from what stands here beside them, and writes them into this folder.  The node serves
the files as they are; the tests see to it that they are what would be written.
"""
