# What botocore's own signer makes of a request that was received.
#
# Of the headers only those count that the request says it signed; the time is that of its
# X-Amz-Date.  As a program (by the "python" of moto.sh): requests as lines of JSON on stdin,
#	{"url", "headers": [[name, value], ...], "body" (hex), "secret"}
# and on stdout "ok" or what is wrong, a line for each.
#
# SPDX-License-Identifier: PostgreSQL
import json
import re
import sys

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

AUTHORIZATION = re.compile(r"AWS4-HMAC-SHA256 Credential=(\w+)/(\d{8})/([\w-]+)/([\w-]+)/aws4_request, "
                           r"SignedHeaders=([a-z0-9;-]+), Signature=([0-9a-f]{64})")


def parts(headers):
    """Access key id, region, service, signed names and signature; None."""
    values = [value for name, value in headers if name.lower() == "authorization"]
    found = AUTHORIZATION.fullmatch(values[0]) if len(values) == 1 else None
    return None if found is None else (found[1], found[3], found[4], found[5].split(";"), found[6])


def fault(url, headers, body, secret):
    """Why this is not what botocore would have signed; None."""
    found = parts(headers)
    if found is None:
        return "no Authorization"
    access_key_id, region, service, names, signature = found
    lower = [name.lower() for name, _ in headers]
    for name in set(lower):
        if (name.startswith("x-amz-") or name in ("host", "content-type")) and name not in names:
            return "%s is not signed" % name
    for name in names:
        if lower.count(name) != 1:
            return "%s is there %d times" % (name, lower.count(name))
    date = next(value for name, value in headers if name.lower() == "x-amz-date")
    request = AWSRequest(method="POST", url=url, data=body,
                         headers={name: value for name, value in headers if name.lower() in names})
    request.context["timestamp"] = date
    auth = SigV4Auth(Credentials(access_key_id, secret), service, region)
    computed = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
    return None if computed == signature else "another signature"


def main():
    for line in sys.stdin:
        said = json.loads(line)
        print(fault(said["url"], said["headers"], bytes.fromhex(said["body"]), said["secret"]) or "ok", flush=True)


if __name__ == "__main__":
    main()
