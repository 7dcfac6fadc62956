"""Connected services: how this installation is known to them, and the access of users to them.

schemes       security schemes in the words of OpenAPI, and where they put a secret in a request
clients       ``ctx.service_clients``
refreshing    new tokens for old ones, one refresh at a time
auth          what httpx is given
desk          ``ctx.connections``
"""
