"""An API server of one's own: etcd, the API server and the controllers of Kubernetes, without a node, in a temporary directory."""

import json
import os
import pathlib
import secrets
import shutil
import socket
import subprocess
import tempfile
import time

# How long to wait for what must happen. Far more than it takes, so that a busy machine fails nothing.
PATIENCE = 120


class Failed(Exception):
    """A program that should have succeeded."""


class Cluster:
    """A running API server. Programs that talk to it are run by its methods."""

    def __init__(self, programs):
        self.programs = pathlib.Path(programs)
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="planet-api-server-"))
        self.processes = []
        # Nothing of the user's own: neither a cluster nor repositories nor plugins.
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.directory),
            "TMPDIR": str(self.directory),
            "KUBECONFIG": str(self.directory / "kubeconfig"),
        }

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        # The last that was started ends first.
        for process in reversed(self.processes):
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.directory)

    def start(self):
        etcd, peer, api, controllers = free_ports(4)
        path = self.directory
        key = path / "accounts.key"
        self.must(run(["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key]))
        self.must(run(["openssl", "pkey", "-in", key, "-pubout", "-out", path / "accounts.pub"]))
        token = secrets.token_hex(16)
        tokens = path / "tokens.csv"
        tokens.touch(mode=0o600)
        tokens.write_text(f"{token},admin,admin,system:masters\n")
        self.write_kubeconfig(api, token)
        client, others = f"http://127.0.0.1:{etcd}", f"http://127.0.0.1:{peer}"
        self.launch(
            "etcd", f"--data-dir={path}/etcd", "--unsafe-no-fsync", "--log-level=warn", f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}", f"--listen-peer-urls={others}",
            f"--initial-advertise-peer-urls={others}", f"--initial-cluster=default={others}",
        )
        self.launch(
            "kube-apiserver", f"--etcd-servers={client}", "--bind-address=127.0.0.1", f"--secure-port={api}",
            f"--cert-dir={path}/certificates", "--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none",
            "--service-cluster-ip-range=10.96.0.0/16", f"--token-auth-file={tokens}", "--authorization-mode=AlwaysAllow",
            "--service-account-issuer=https://kubernetes.default.svc", f"--service-account-key-file={path}/accounts.pub",
            f"--service-account-signing-key-file={key}",
        )
        self.wait_for("the API server", lambda: self.kubectl("get", "--raw", "/readyz"))
        self.launch(
            "kube-controller-manager", f"--kubeconfig={path}/kubeconfig", "--leader-elect=false", f"--secure-port={controllers}",
            "--bind-address=127.0.0.1", f"--cert-dir={path}/controllers",
            f"--service-account-private-key-file={key}",
        )
        for definition in sorted((self.programs / "crds").iterdir()):
            self.must(self.kubectl("create", "-f", definition))
        self.must(self.kubectl("wait", "crd", "--all", "--for=condition=Established", f"--timeout={PATIENCE}s"))

    def write_kubeconfig(self, port, token):
        # Which the API server makes for itself.
        authority = str(self.directory / "certificates/apiserver.crt")
        named = {
            "clusters": [{"name": "own", "cluster": {"server": f"https://127.0.0.1:{port}", "certificate-authority": authority}}],
            "users": [{"name": "own", "user": {"token": token}}],
            "contexts": [{"name": "own", "context": {"cluster": "own", "user": "own"}}],
        }
        file = self.directory / "kubeconfig"
        file.touch(mode=0o600)
        # JSON is YAML.
        file.write_text(json.dumps({"apiVersion": "v1", "kind": "Config", "current-context": "own", **named}))

    def launch(self, program, *arguments):
        log = open(self.directory / f"{program}.log", "wb")
        command = [self.programs / program, *arguments]
        self.processes.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment))

    def wait_for(self, what, ask):
        """Asks until a program succeeds."""
        deadline = time.monotonic() + PATIENCE
        while True:
            for process in self.processes:
                if process.poll() is not None:
                    name = pathlib.Path(process.args[0]).name
                    raise Failed(f"{name} ended:\n{(self.directory / f'{name}.log').read_text()[-3000:]}")
            answer = ask()
            if answer.returncode == 0:
                return answer
            if time.monotonic() > deadline:
                raise Failed(f"waited {PATIENCE} s in vain for {what}: {answer.stdout}{answer.stderr}")
            time.sleep(0.1)

    def kubectl(self, *arguments, input=None):
        return run([self.programs / "kubectl", *arguments], input, self.environment)

    def helm(self, version, *arguments, input=None):
        return run([self.programs / f"helm-{version}", *arguments], input, self.environment)

    def get(self, namespace, what):
        """An object, or None."""
        answer = self.kubectl("get", "-n", namespace, what, "-o", "json", "--ignore-not-found", "--show-managed-fields=false")
        self.must(answer)
        return json.loads(answer.stdout) if answer.stdout else None

    def namespace(self, name):
        """A namespace that says of each pod template what the standard `restricted` has against it."""
        self.must(self.kubectl("create", "namespace", name))
        self.must(self.kubectl("label", "namespace", name, "pod-security.kubernetes.io/warn=restricted"))
        return name

    @staticmethod
    def must(answer):
        if answer.returncode != 0:
            raise Failed(f"{' '.join(map(str, answer.args))}: {answer.stdout}{answer.stderr}")
        return answer


def run(command, input=None, environment=None):
    command = list(map(str, command))
    try:
        return subprocess.run(command, input=input or "", capture_output=True, text=True, env=environment, timeout=PATIENCE)
    except subprocess.TimeoutExpired as error:
        raise Failed(f"{' '.join(command)} did not end within {PATIENCE} s") from error


def free_ports(number):
    """Ports that are free now; each is another."""
    listeners = [socket.socket() for _ in range(number)]
    for listener in listeners:
        listener.bind(("127.0.0.1", 0))
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports
