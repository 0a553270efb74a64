#!/usr/bin/env python3
# AWS as the tests have it: moto (KMS, IAM, STS, IMDS) with what it leaves out of KMS.
# usage: PYTHON aws_kms.py DIRECTORY   (PYTHON: moto.sh).  Prints "ready PORT"; ends with stdin.
#
# moto checks access keys, session tokens, signatures and IAM policies here from the first
# request on.  Added before it:
#	botocore's signer is asked, too; what it makes of the request stands in the log
#	a signature is too old or too new for the clock, which may differ from the machine's
#	a disabled key, and one that is pending deletion, does nothing
#	KeyMaterialId; ARNs where moto wants a bare id; errors on demand
#	AssumeRoleWithWebIdentity, which nobody signs: moto stumbles over that while it checks, so for
#	this call alone (and in its thread) it does not
#	IMDS wants the token of its version 2, and gives the credential a key id that AWS could give:
#	moto's has a hyphen, which no key id of AWS's has; it is an underscore then, and what the
#	credential signs is checked as that of the role "instance_role"
#
# DIRECTORY/requests: a line of JSON for each request to KMS that was answered, and to STS for a web identity.
# POST /_test/call {"service", "operation", "region", "arguments"}: asks boto3, as an administrator.
# POST /_test/set {"clock": seconds ahead, "materials": bool, "gather": the first Decrypts, which are answered together,
#	"instance_role": its ARN, "late": how often a key's state or material is told as it was before it was changed, "replicated": a deletion waits for replicas,
#	"fail": {operation: fault}}; a fault is
#	{"status", "code", "message", "type_header", "body", "after" (it was done all the same), "times", "key" (only of this ARN)}
#
# SPDX-License-Identifier: PostgreSQL
import hashlib
import io
import json
import logging
import os
import re
import sys
import threading
import time
from calendar import timegm
from email.utils import formatdate
from types import SimpleNamespace
from urllib.parse import parse_qs

os.environ["AWS_EC2_METADATA_DISABLED"] = "true"

import boto3  # noqa: E402
from moto.core import DEFAULT_ACCOUNT_ID  # noqa: E402
from moto.core.authorization import ActionAuthenticatorMixin  # noqa: E402
from moto.kms.models import kms_backends  # noqa: E402
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app  # noqa: E402
from moto.sts.models import AssumedRole, sts_backends  # noqa: E402
from werkzeug.serving import WSGIRequestHandler, make_server  # noqa: E402

import aws_signature  # noqa: E402

TARGET = "TrentService."
HOST = "127.0.0.1"
TOLERATED = 300
USES_KEY = ("Encrypt", "Decrypt", "ReEncrypt", "RotateKeyOnDemand")
WANTS_BARE_ID = ("EnableKey", "DisableKey", "ScheduleKeyDeletion", "CancelKeyDeletion")
IMDS = "/latest/"
IMDS_ROLES = "/latest/meta-data/iam/security-credentials/"
IMDS_TOKEN = "fake-imdsv2-token"  # moto's only one

unchecked = threading.local()
check_action = ActionAuthenticatorMixin._authenticate_and_authorize_action


def check_unless_unchecked(self, *arguments, **named):
    if not getattr(unchecked, "now", False):
        check_action(self, *arguments, **named)


ActionAuthenticatorMixin._authenticate_and_authorize_action = check_unless_unchecked


class Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def make_environ(self):
        environ = super().make_environ()
        environ["raw_headers"] = list(self.headers.items())
        return environ

    def log(self, *_):
        pass


class Fault(Exception):
    def __init__(self, status, code=None, message="", type_header=None, body=None, after=False, times=None):
        self.status = status
        self.body = body.encode() if body is not None else json.dumps({"__type": code, "message": message}).encode()
        self.code = code
        self.type_header = type_header
        self.after = after


class Aws:
    def __init__(self, directory):
        self.app = DomainDispatcherApplication(create_backend_app)
        self.lock = threading.Lock()
        self.log = open(os.path.join(directory, "requests"), "a")
        self.secrets = {}
        self.materials = {}
        self.settings = {"clock": 0, "materials": True, "fail": {}, "gather": 0, "late": 0, "replicated": False, "instance_role": None}
        self.gathered = threading.Condition()
        self.old_states = {}  # and how often they are told still
        self.old_rotations = {}
        self.port = None

    # --- the administrator --------------------------------------------------

    def client(self, service, region):
        return boto3.client(service, region_name=region, endpoint_url="http://%s:%d" % (HOST, self.port), **self.admin)

    def become_admin(self):
        self.admin = {"aws_access_key_id": "first", "aws_secret_access_key": "first"}
        iam = self.client("iam", "us-east-1")
        iam.create_user(UserName="admin")
        everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
        iam.put_user_policy(UserName="admin", PolicyName="all", PolicyDocument=json.dumps(everything))
        key = iam.create_access_key(UserName="admin")["AccessKey"]
        self.admin = {"aws_access_key_id": key["AccessKeyId"], "aws_secret_access_key": key["SecretAccessKey"]}
        self.plain("POST", "/moto-api/reset-auth", b"0")

    def plain(self, method, path, body):
        environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": "", "CONTENT_TYPE": "text/plain",
                   "CONTENT_LENGTH": str(len(body)), "wsgi.input": io.BytesIO(body), "SERVER_NAME": HOST,
                   "SERVER_PORT": str(self.port), "HTTP_HOST": "%s:%d" % (HOST, self.port), "wsgi.url_scheme": "http",
                   "wsgi.errors": sys.stderr, "wsgi.version": (1, 0), "SERVER_PROTOCOL": "HTTP/1.1"}
        b"".join(self.app(environ, lambda *_: None))

    def call(self, said):
        answer = getattr(self.client(said["service"], said.get("region", "us-east-1")), said["operation"])(**said.get("arguments", {}))
        for part in ("AccessKey", "Credentials"):
            if part in answer:
                self.secrets[answer[part]["AccessKeyId"]] = answer[part]["SecretAccessKey"]
        answer.pop("ResponseMetadata", None)
        return answer

    # --- one request ----------------------------------------------------------

    def now(self):
        return time.time() + self.settings["clock"]

    def __call__(self, environ, start_response):
        path = environ["PATH_INFO"]
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        if path.startswith("/_test/"):
            return self.control(path[7:], json.loads(body), start_response)
        if path.startswith(IMDS) and self.settings["instance_role"]:
            return self.imds(environ, start_response)
        if "HTTP_AUTHORIZATION" not in environ and parse_qs(body.decode("utf-8", "replace")).get("Action") == ["AssumeRoleWithWebIdentity"]:
            return self.web_identity(environ, parse_qs(body.decode()), start_response)
        target = environ.get("HTTP_X_AMZ_TARGET", "")
        own = environ["raw_headers"] and self.admin["aws_access_key_id"] in environ.get("HTTP_AUTHORIZATION", "")
        if not target.startswith(TARGET) or own:
            return self.app(environ, start_response)
        status, headers, answer, code, signed = self.kms(environ, target[len(TARGET):], body)
        with self.lock:
            said = json.loads(body) if body.startswith(b"{") else {}
            self.log.write(json.dumps({"operation": target[len(TARGET):], "status": int(status[:3]), "code": code, "signature": signed,
                                       "key": said.get("KeyId") or said.get("DestinationKeyId"), "source": said.get("SourceKeyId"),
                                       "window": said.get("PendingWindowInDays"),
                                       "context": said.get("EncryptionContext") or said.get("DestinationEncryptionContext"),
                                       "token": "x-amz-security-token" in (name.lower() for name, _ in environ["raw_headers"])}) + "\n")
            self.log.flush()
        start_response(status, [(name, value) for name, value in headers if name.lower() not in ("date", "connection", "content-length")]
                       + [("Date", formatdate(self.now(), usegmt=True)), ("Content-Length", str(len(answer)))])
        return [answer]

    def control(self, what, said, start_response):
        try:
            if what == "set":
                self.old_states.update(said.pop("told", {}))
                self.settings.update(said)
                answer = {}
            else:
                answer = self.call(said)
            status = "200 OK"
        except Exception as error:  # told to the test
            status, answer = "500 No", {"error": str(error)}
        text = json.dumps(answer, default=str).encode()
        start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(text)))])
        return [text]

    def web_identity(self, environ, said, start_response):
        unchecked.now = True
        try:
            status, headers, answer = self.pass_on(environ)
        finally:
            unchecked.now = False
        found = [re.search("<%s>([^<]+)</%s>" % (name, name), answer.decode()) for name in ("AccessKeyId", "SecretAccessKey")]
        if all(found):
            self.secrets[found[0][1]] = found[1][1]
        with self.lock:
            self.log.write(json.dumps({"operation": said["Action"][0], "status": int(status[:3]), "role": said.get("RoleArn", [None])[0],
                                       "web_identity": said.get("WebIdentityToken", [None])[0]}) + "\n")
            self.log.flush()
        start_response(status, headers)
        return [answer]

    def imds(self, environ, start_response):
        path = environ["PATH_INFO"]
        if path == "/latest/api/token":
            good = environ["REQUEST_METHOD"] == "PUT" and environ.get("HTTP_X_AWS_EC2_METADATA_TOKEN_TTL_SECONDS", "").isdigit()
        else:
            good = environ["REQUEST_METHOD"] == "GET" and environ.get("HTTP_X_AWS_EC2_METADATA_TOKEN") == IMDS_TOKEN
        if not good:
            start_response("401 Unauthorized", [("Content-Length", "0")])
            return [b""]
        status, headers, answer = self.pass_on(environ)
        if path.startswith(IMDS_ROLES) and path != IMDS_ROLES:
            told = json.loads(answer)
            told["AccessKeyId"] = told["AccessKeyId"].replace("-", "_")
            self.register(told)
            answer = json.dumps(told).encode()
        start_response(status, [(name, value) for name, value in headers if name.lower() != "content-length"] + [("Content-Length", str(len(answer)))])
        return [answer]

    def register(self, told):
        """moto knows of no credential that its own IMDS gives."""
        key = SimpleNamespace(access_key_id=told["AccessKeyId"], secret_access_key=told["SecretAccessKey"])
        role = AssumedRole(DEFAULT_ACCOUNT_ID, "us-east-1", key, "i-fake", self.settings["instance_role"], None, 86400, None)
        role.session_token = told["Token"]
        with self.lock:
            roles = sts_backends[DEFAULT_ACCOUNT_ID]["aws"].assumed_roles
            if all(known.access_key_id != role.access_key_id for known in roles):
                roles.append(role)
        self.secrets[role.access_key_id] = role.secret_access_key

    def kms(self, environ, operation, body):
        signed = self.signature(environ, body)
        headers = [("Content-Type", "application/x-amz-json-1.1"), ("x-amzn-RequestId", "01234567-89ab-4cde-8f01-23456789abcd")]
        try:
            if operation == "Decrypt":
                self.gather()
            self.check_time(environ)
            fault = self.planned(operation, body)
            if fault is not None and not fault.after:
                raise fault
            said = json.loads(body)
            # (who may not is told so by moto, whatever the key's state is)
            status, moto_headers, answer = self.ask(environ, operation, said, signed is None)
            if fault is not None:
                raise fault
            return status, moto_headers, answer, None, signed or "ok"
        except Fault as fault:
            if fault.type_header is not None:
                headers.append(("x-amzn-ErrorType", fault.type_header))
            return "%d Said So" % fault.status, headers, fault.body, fault.code, signed or "ok"

    def signature(self, environ, body):
        found = aws_signature.parts(environ["raw_headers"])
        secret = self.secrets.get(found[0]) if found is not None else None
        if secret is None:
            return "unknown"
        return aws_signature.fault("http://%s:%d/" % (HOST, self.port), environ["raw_headers"], body, secret)

    def check_time(self, environ):
        date = timegm(time.strptime(environ["HTTP_X_AMZ_DATE"], "%Y%m%dT%H%M%SZ"))
        if abs(date - self.now()) > TOLERATED:
            how = "Signature expired" if date < self.now() else "Signature not yet current"
            raise Fault(400, "InvalidSignatureException", "%s: %s is now earlier than another time" % (how, environ["HTTP_X_AMZ_DATE"]))

    def gather(self):
        """Nobody is answered before the last of them is there."""
        with self.gathered:
            if self.settings["gather"] > 0:
                self.settings["gather"] -= 1
                self.gathered.notify_all()
                self.gathered.wait_for(lambda: self.settings["gather"] == 0, timeout=60)

    def planned(self, operation, body):
        with self.lock:
            fault = self.settings["fail"].get(operation)
            if fault is None or fault.get("key", json.loads(body).get("KeyId")) != json.loads(body).get("KeyId"):
                return None
            if "times" in fault:
                fault["times"] -= 1
                if fault["times"] <= 0:
                    del self.settings["fail"][operation]
        return Fault(**{name: fault[name] for name in fault if name != "key"})

    def backend(self, environ):
        return kms_backends[DEFAULT_ACCOUNT_ID][aws_signature.parts(environ["raw_headers"])[1]]

    def key(self, environ, key_id):
        backend = self.backend(environ)
        try:
            return backend.keys.get(backend.any_id_to_key_id(key_id))
        except Exception:
            return None

    def ask(self, environ, operation, said, trusted):
        keys = [self.key(environ, said[name]) for name in ("KeyId", "SourceKeyId", "DestinationKeyId") if name in said]
        if trusted and all(key is not None for key in keys):
            self.check_states(operation, keys)
        # moto has checked the signature over what was sent, so it is asked with that first
        if operation in WANTS_BARE_ID:
            self.old_states[keys[0].arn] = [self.state(keys[0]), self.settings["late"]]
            return self.as_admin(operation, said, keys, environ)
        if operation == "RotateKeyOnDemand":
            self.old_rotations[keys[0].arn] = [len(keys[0].rotations), self.settings["late"]]
        status, headers, answer = self.pass_on(environ)
        if status.startswith("200") and operation == "DescribeKey":
            answer = self.with_state(keys[0], answer)
        if status.startswith("200") and self.settings["materials"]:
            answer = self.with_materials(operation, said, keys, answer)
        return status, headers, answer

    def pass_on(self, environ):
        caught = {}

        def start(status, headers, *_):
            caught["status"], caught["headers"] = status, headers
        answer = b"".join(self.app(environ, start))
        return caught["status"], caught["headers"], answer

    def state(self, key):
        return "PendingReplicaDeletion" if key.key_state == "PendingDeletion" and self.settings["replicated"] else key.key_state

    def with_state(self, key, answer):
        told = json.loads(answer)
        metadata = told["KeyMetadata"]
        metadata["KeyState"] = self.state(key)
        metadata["MultiRegion"] = self.settings["replicated"]
        old = self.old_states.get(key.arn, [None, 0])
        if old[1] > 0:
            old[1] -= 1
            metadata["KeyState"] = old[0]
        if metadata["KeyState"] != "PendingDeletion":
            metadata.pop("DeletionDate", None)
        return json.dumps(told).encode()

    def check_states(self, operation, keys):
        for key in keys:
            if operation in USES_KEY and key.key_state == "Disabled":
                raise Fault(400, "DisabledException", key.arn + " is disabled.")
            if operation in USES_KEY + ("EnableKey", "ScheduleKeyDeletion") and key.key_state == "PendingDeletion":
                raise Fault(400, "KMSInvalidStateException", key.arn + " is pending deletion.")
            if operation == "CancelKeyDeletion" and key.key_state != "PendingDeletion":
                raise Fault(400, "KMSInvalidStateException", key.arn + " is not pending deletion.")

    def as_admin(self, operation, said, keys, environ):
        """moto wants a bare id, which nobody has signed: it is asked twice, for the right and for the deed."""
        self.pass_on_for_right(environ)
        name = "".join("_" + c.lower() if c.isupper() else c for c in operation).lstrip("_")
        region = aws_signature.parts(environ["raw_headers"])[1]
        answer = getattr(self.client("kms", region), name)(**dict(said, KeyId=keys[0].id))
        answer.pop("ResponseMetadata", None)
        if "KeyId" in answer:
            answer["KeyId"] = keys[0].arn
        if "DeletionDate" in answer:
            answer["DeletionDate"] = answer["DeletionDate"].timestamp()
        return "200 OK", [("Content-Type", "application/x-amz-json-1.1")], json.dumps(answer).encode() if answer else b""

    def pass_on_for_right(self, environ):
        try:
            status, _, answer = self.pass_on(environ)
        except Exception:  # it stumbles over the ARN, behind its look at the policy
            return
        if status.startswith("403"):
            raise Fault(403, "AccessDenied", body=answer.decode())

    def material(self, key, count):
        return hashlib.sha256(("%s %d" % (key.arn, count)).encode()).hexdigest()

    def with_materials(self, operation, said, keys, answer):
        told = json.loads(answer)
        with self.lock:
            if operation == "DescribeKey":
                told["KeyMetadata"]["CurrentKeyMaterialId"] = self.material(keys[0], len(keys[0].rotations))
                if self.old_rotations.get(keys[0].arn, [0, 0])[1] > 0:
                    self.old_rotations[keys[0].arn][1] -= 1
                    told["KeyMetadata"]["CurrentKeyMaterialId"] = self.material(keys[0], self.old_rotations[keys[0].arn][0])
            elif operation == "Encrypt":
                self.materials[told["CiphertextBlob"]] = self.material(keys[0], len(keys[0].rotations))
            elif operation == "Decrypt":
                told["KeyMaterialId"] = self.materials[said["CiphertextBlob"]]
            elif operation == "ReEncrypt":
                told["SourceKeyMaterialId"] = self.materials[said["CiphertextBlob"]]
                told["DestinationKeyMaterialId"] = self.material(keys[-1], len(keys[-1].rotations))
                self.materials[told["CiphertextBlob"]] = told["DestinationKeyMaterialId"]
        return json.dumps(told).encode()


def main():
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    aws = Aws(sys.argv[1])
    server = make_server(HOST, 0, aws, threaded=True, request_handler=Handler)
    aws.port = server.server_port
    threading.Thread(target=server.serve_forever, daemon=True).start()
    aws.become_admin()
    print("ready %d" % aws.port, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
