"""Runs the real Python clients of Hugging Face against the registry: huggingface_hub, its `hf` command, and transformers
where it is there.

    python3 testenv/huggingface/python.py bin/ballast

starts the binary on a folder that is gone afterwards, publishes small models and reads them back by every door. Each line is a
check that was made. It ends with 1 when one failed, and with 2 when huggingface_hub is not installed.
"""

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

try:
    import huggingface_hub
except ImportError:
    print("huggingface_hub is not installed here", file=sys.stderr)
    sys.exit(2)

MIB = 1 << 20
URL_LIFE = 5  # seconds; so that a URL is over before the client goes on with it


class Proxy:
    """Passes TCP on to a server, and counts what that sends back."""

    def __init__(self, target=None):
        self.target = target  # (host, port)
        self.sent = 0
        self._cut = None
        self._pause = 0
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, after, pause):
        """Breaks the connection that brings more than the next after bytes, pause seconds after it has."""
        with self._lock:
            self._cut, self._pause = self.sent + after, pause

    def _accept(self):
        while True:
            client, _ = self._listener.accept()
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        try:
            server = socket.create_connection(self.target)
        except OSError:
            client.close()
            return
        threading.Thread(target=self._copy, args=(client, server, False), daemon=True).start()
        self._copy(server, client, True)

    def _copy(self, source, sink, counted):
        try:
            while data := source.recv(1 << 16):
                if counted:
                    with self._lock:
                        self.sent += len(data)
                        broken = self._cut is not None and self.sent > self._cut
                        if broken:
                            self._cut = None
                    if broken:
                        time.sleep(self._pause)
                        break
                sink.sendall(data)
        except OSError:
            pass
        for s in (source, sink):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            s.close()


class Registry:
    """The binary, with its embedded store; `service` and `store` are the proxies before the two."""

    def __init__(self, binary, work):
        self.binary, self.work = binary, work
        self.service, self.store = Proxy(), Proxy()
        store_port = free_port()
        self.store.target = ("127.0.0.1", store_port)
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("BALLAST_", "AWS_", "HF_"))}
        self.env |= {"HOME": work, "XDG_CONFIG_HOME": f"{work}/config", "XDG_CACHE_HOME": f"{work}/cache"}
        self.log = open(f"{work}/serve.log", "w")
        self.process = subprocess.Popen(
            [binary, "serve", "--data", f"{work}/data", "--listen", "localhost:0", "--s3-listen", f"127.0.0.1:{store_port}",
             "--s3-public-endpoint", f"http://127.0.0.1:{self.store.port}", "--metrics-listen", "off", "--url-life", f"{URL_LIFE}s"],
            stdout=subprocess.PIPE, stderr=self.log, env=self.env, text=True)
        for line in self.process.stdout:
            if m := re.search(r"export (BALLAST_\w+)=(.*)", line):
                self.env[m[1]] = subprocess.run(["sh", "-c", f"printf %s {m[2]}"], env=self.env, stdout=subprocess.PIPE, text=True, check=True).stdout
            if "BALLAST_TOKEN" in line:
                break
        self.service.target = ("localhost", int(self.env["BALLAST_URL"].rsplit(":", 1)[1]))
        threading.Thread(target=self.process.stdout.read, daemon=True).start()
        self.url = f"http://localhost:{self.service.port}"
        self.env["BALLAST_TOKEN"] = self.ballast("token", "create", "--grant", "acme=maintainer", "--name", "writer").strip()
        self.reader = "hf_" + self.ballast("token", "create", "--grant", "acme=reader", "--name", "reader", admin=True).strip()

    def ballast(self, *args, admin=False):
        env = self.env
        if admin:
            env = env | {"BALLAST_TOKEN": open(f"{self.work}/data/admin.token").read().strip()}
        return subprocess.run([self.binary, *args], env=env, stdout=subprocess.PIPE, stderr=self.log, text=True, check=True).stdout

    def end(self):
        self.process.terminate()
        self.process.wait(30)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


def files_of(folder):
    """Path → SHA-256 of each file below a folder, beside what the clients keep there for themselves."""
    found = {}
    for at, folders, names in os.walk(folder):
        folders[:] = [f for f in folders if f != ".cache"]
        for name in names:
            path = os.path.join(at, name)
            with open(path, "rb") as f:
                found[os.path.relpath(path, folder)] = hashlib.file_digest(f, "sha256").hexdigest()
    return found


class Checks:
    """What was checked, printed line by line."""

    def __init__(self):
        self.failed = 0

    def __call__(self, what, got, want=True):
        if got == want:
            print(f"ok    {what}", flush=True)
            return
        self.failed += 1
        print(f"FAIL  {what}: {got!r}, want {want!r}", flush=True)

    def section(self, title):
        print(f"\n{title}", flush=True)

    def run(self, part, *args):
        try:
            part(self, *args)
        except Exception as e:  # one broken part must not hide the others
            self.failed += 1
            print(f"FAIL  {part.__name__}: {type(e).__name__}: {e}", flush=True)

    def raises(self, what, kind, call):
        try:
            call()
        except kind as e:
            print(f"ok    {what}: {type(e).__name__}", flush=True)
        except Exception as e:
            self(what, type(e).__name__, kind.__name__)
        else:
            self(what, "no error", kind.__name__)


def make_model(folder):
    """A model of transformers' own making with a tokenizer, where that is there, and files of all shapes beside it."""
    os.makedirs(f"{folder}/sub folder/ä")
    try:
        from transformers import BertConfig, BertModel, BertTokenizerFast
        words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "hello", "world"]
        with open(f"{folder}/vocab.txt", "w") as f:
            f.write("\n".join(words) + "\n")
        BertModel(BertConfig(vocab_size=len(words), hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, max_position_embeddings=32)).save_pretrained(folder)
        BertTokenizerFast(f"{folder}/vocab.txt").save_pretrained(folder)
    except ImportError:
        with open(f"{folder}/config.json", "w") as f:
            json.dump({"model_type": "bert"}, f)
    rng = random.Random(1)
    for path, data in {"empty.txt": b"", "sub folder/ä/notes.json": b"{}", "tokens.json": rng.randbytes(300_000), "large.bin": rng.randbytes(64 * MIB)}.items():
        with open(f"{folder}/{path}", "wb") as f:
            f.write(data)


def command_line(check, r, model, want):
    check.section("hf, the command")
    env = r.env | {"HF_ENDPOINT": r.url, "HF_TOKEN": r.reader, "HF_HOME": f"{r.work}/hf-command"}

    def hf(*args):
        return subprocess.run(["hf", *args], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)

    p = hf("download", "acme/tiny", "--local-dir", f"{r.work}/by-command")
    check("hf download acme/tiny", p.returncode, 0)
    check("   the files are those that were pushed", files_of(f"{r.work}/by-command"), want)
    p = hf("download", "acme/tiny", "tokens.json", "--revision", "champion", "--quiet")
    check("hf download acme/tiny tokens.json --revision champion", p.returncode, 0)
    p = hf("download", "acme/tiny", "--revision", "1", "--include", "*.json", "--local-dir", f"{r.work}/some")
    check("hf download acme/tiny --revision 1 --include '*.json'", p.returncode, 0)
    check("   those files alone", files_of(f"{r.work}/some"), {k: v for k, v in want.items() if k.endswith(".json")})
    p = hf("auth", "whoami")
    check("hf auth whoami", (p.returncode, "reader" in p.stdout), (0, True))
    p = hf("download", "acme/absent")
    check("hf download acme/absent is refused, and says so", (p.returncode != 0, "not found" in p.stdout.lower()), (True, True))
    p = hf("upload", "acme/tiny", f"{r.work}/some")
    check("hf upload is refused, and points at ballast push", (p.returncode != 0, "ballast push" in p.stdout), (True, True))


def snapshots(check, r, model, want):
    from huggingface_hub import snapshot_download
    check.section("snapshot_download")
    commit = huggingface_hub.HfApi(endpoint=r.url, token=r.reader).model_info("acme/tiny").sha
    for what, revision in {"main": None, "a version": "1", "an alias": "champion", "a commit": commit}.items():
        folder = snapshot_download("acme/tiny", revision=revision, endpoint=r.url, token=r.reader, cache_dir=f"{r.work}/cache-{what}")
        check(f"by {what}", files_of(folder), want)
    sent = r.store.sent
    folder = snapshot_download("acme/tiny", endpoint=r.url, token=r.reader, cache_dir=f"{r.work}/cache-main")
    check("again, nothing is fetched", (files_of(folder) == want, r.store.sent - sent), (True, 0))
    before = r.service.sent
    sent = r.store.sent
    snapshot_download("acme/tiny", endpoint=r.url, token=r.reader, cache_dir=f"{r.work}/counted")
    service, store = r.service.sent - before, r.store.sent - sent
    check(f"of {sum(os.path.getsize(f'{model}/{p}') for p in want)} bytes the service sent {service}, the store {store}", service < 2 * MIB and store > 64 * MIB)


def calls(check, r, model, want):
    from huggingface_hub import HfApi, HfFileSystem, get_hf_file_metadata, hf_hub_download, hf_hub_url
    check.section("HfApi")
    api = HfApi(endpoint=r.url, token=r.reader)
    check("whoami", api.whoami()["name"], "reader")
    info = api.model_info("acme/tiny", files_metadata=True)
    check("model_info: id, pipeline_tag", (info.id, info.pipeline_tag), ("acme/tiny", "feature-extraction"))
    check("   digests of all files", {s.rfilename: s.lfs.sha256 for s in info.siblings}, want)
    check("list_repo_files", sorted(api.list_repo_files("acme/tiny")), sorted(want))
    tree = [f for f in api.list_repo_tree("acme/tiny", recursive=True, expand=True) if hasattr(f, "lfs")]
    check("list_repo_tree", {f.path: f.lfs.sha256 for f in tree}, want)
    found = api.get_paths_info("acme/tiny", ["large.bin", "sub folder", "absent"])
    check("get_paths_info", sorted(f.path for f in found), ["large.bin", "sub folder"])
    refs = api.list_repo_refs("acme/tiny")
    check("list_repo_refs", ({b.name for b in refs.branches} >= {"main", "champion"}, [t.name for t in refs.tags]), (True, ["1"]))
    check("list_repo_commits", [c.commit_id for c in api.list_repo_commits("acme/tiny")], [info.sha])
    check("list_models", [m.id for m in api.list_models(author="acme", limit=5)], ["acme/tiny"])
    check("list_models(search=…)", [m.id for m in api.list_models(search="tiny")], ["acme/tiny"])
    check("repo_exists, revision_exists, file_exists",
          (api.repo_exists("acme/tiny"), api.revision_exists("acme/tiny", "1"), api.file_exists("acme/tiny", "empty.txt"),
           api.repo_exists("acme/absent"), api.revision_exists("acme/tiny", "9"), api.file_exists("acme/tiny", "absent")),
          (True, True, True, False, False, False))
    api.auth_check("acme/tiny")
    check("auth_check", True)
    meta = get_hf_file_metadata(hf_hub_url("acme/tiny", "large.bin", endpoint=r.url), token=r.reader, endpoint=r.url)
    check("get_hf_file_metadata", (meta.commit_hash, meta.etag, meta.size, meta.xet_file_data), (info.sha, want["large.bin"], 64 * MIB, None))
    path = hf_hub_download("acme/tiny", "notes.json", subfolder="sub folder/ä", endpoint=r.url, token=r.reader, cache_dir=f"{r.work}/one")
    check("hf_hub_download of a file in folders", open(path).read(), "{}")
    if "model.safetensors" in want:
        tensors = api.get_safetensors_metadata("acme/tiny").files_metadata["model.safetensors"].tensors
        check(f"get_safetensors_metadata: {len(tensors)} tensors, by ranges", "embeddings.word_embeddings.weight" in tensors)
    fs = HfFileSystem(endpoint=r.url, token=r.reader)
    check("HfFileSystem.ls", sorted(fs.ls("acme/tiny", detail=False)), sorted({"acme/tiny/" + p.split("/")[0] for p in want}))
    with fs.open("acme/tiny/large.bin", block_size=MIB) as f, open(f"{model}/large.bin", "rb") as g:
        f.seek(40 * MIB + 3)
        g.seek(40 * MIB + 3)
        check("HfFileSystem.open, seek, read", f.read(1000) == g.read(1000))


def refusals(check, r, model, want):
    from huggingface_hub import errors, hf_hub_download
    check.section("refusals")

    def get(repo, path="large.bin", revision=None, token=r.reader):
        return lambda: hf_hub_download(repo, path, revision=revision, endpoint=r.url, token=token, cache_dir=f"{r.work}/refused")

    check.raises("another tenant's model", errors.RepositoryNotFoundError, get("beta/theirs"))
    check.raises("no such model", errors.RepositoryNotFoundError, get("acme/absent"))
    check.raises("no such version", errors.RevisionNotFoundError, get("acme/tiny", revision="9"))
    check.raises("no such file", errors.EntryNotFoundError, get("acme/tiny", path="absent"))
    check.raises("a wrong token", errors.HfHubHTTPError, get("acme/tiny", token="hf_wrong"))
    r.ballast("push", f"{r.work}/some", "acme/gone:1")
    get("acme/gone", path="config.json")()
    r.ballast("retire", "acme/gone:1")
    check.raises("a retired version, although the cache has it", errors.GatedRepoError, get("acme/gone", path="config.json", revision="1"))


def cut(check, r, model, want):
    """The connection breaks at 30 % and what follows comes after the URL's end."""
    from huggingface_hub import constants, hf_hub_download
    check.section(f"a download that breaks at 30 %, with a URL that lives {URL_LIFE} s and is over by then")
    sent, began = r.store.sent, time.monotonic()
    r.store.cut(int(0.3 * 64 * MIB), URL_LIFE + 2)
    tries = 0
    while True:
        tries += 1
        try:
            path = hf_hub_download("acme/tiny", "large.bin", endpoint=r.url, token=r.reader, cache_dir=f"{r.work}/cut")
            break
        except Exception as e:
            print(f"      try {tries}: {type(e).__name__}: {e}", flush=True)
            if tries == 3:
                raise
    with open(path, "rb") as f:
        check(f"finished, calls of hf_hub_download: {tries}", hashlib.file_digest(f, "sha256").hexdigest(), want["large.bin"])
    check("it took longer than a URL lives", time.monotonic() - began > URL_LIFE + 2)
    sent = r.store.sent - sent
    # What the client had of the chunk that it was reading is lost.
    check(f"the store sent {sent / (64 * MIB):.2f} × the file, so it went on from where it was", sent < 65 * MIB + constants.DOWNLOAD_CHUNK_SIZE)


def loading(check, r, model, want):
    try:
        import torch
        import transformers
    except ImportError:
        print("\ntransformers is not installed here", flush=True)
        return
    check.section("transformers")
    # In a process of its own: the endpoint is read when the library is imported.
    script = """if True:
        import sys, torch
        from transformers import AutoConfig, AutoModel, AutoTokenizer
        model, tokenizer = AutoModel.from_pretrained("acme/tiny"), AutoTokenizer.from_pretrained("acme/tiny")
        local = AutoModel.from_pretrained(sys.argv[1])
        same = all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), local.state_dict().values(), strict=True))
        with torch.no_grad():
            out = model(**tokenizer("hello world", return_tensors="pt")).last_hidden_state
        print(type(model).__name__, same, tuple(out.shape))
    """
    env = r.env | {"HF_ENDPOINT": r.url, "HF_TOKEN": r.reader, "HF_HOME": f"{r.work}/hf-transformers", "TRANSFORMERS_VERBOSITY": "error"}
    for what, more in {"AutoModel.from_pretrained, AutoTokenizer.from_pretrained, and a forward pass": {}, "the same with HF_HUB_OFFLINE=1": {"HF_HUB_OFFLINE": "1"}}.items():
        p = subprocess.run([sys.executable, "-c", script, model], env=env | more, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=300)
        check(what, p.stdout.strip() or p.stderr[-600:], "BertModel True (1, 4, 64)")
    others = {
        "tokenizers": "from tokenizers import Tokenizer; print(len(Tokenizer.from_pretrained('acme/tiny').encode('hello world').ids))",
        "sentence_transformers": "from sentence_transformers import SentenceTransformer; print(len(SentenceTransformer('acme/tiny', device='cpu').encode('hello world')))",
    }
    for module, want in {"tokenizers": "4", "sentence_transformers": "64"}.items():
        if importlib.util.find_spec(module):
            p = subprocess.run([sys.executable, "-c", others[module]], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=300)
            check(f"{module} {importlib.metadata.version(module)}", p.stdout.strip() or p.stderr[-600:], want)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    versions = {}
    for name in ("huggingface_hub", "hf-xet", "httpx", "transformers", "torch"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    print("Python " + sys.version.split()[0] + ", " + ", ".join(f"{k} {v}" for k, v in versions.items()))
    check = Checks()
    with tempfile.TemporaryDirectory(prefix="ballast-python-") as work:
        r = Registry(os.path.abspath(sys.argv[1]), work)
        try:
            model = f"{work}/model"
            make_model(model)
            want = files_of(model)
            r.ballast("push", model, "acme/tiny:1", "--task", "feature-extraction")
            r.ballast("alias", "set", "acme/tiny@champion", "1")
            for part in (command_line, snapshots, calls, refusals, cut, loading):
                check.run(part, r, model, want)
        finally:
            r.end()
            r.log.close()
        if check.failed:
            with open(f"{work}/serve.log") as f:
                print("\nthe service's log ends with\n" + "".join(f.readlines()[-30:]), file=sys.stderr)
    print(f"\n{check.failed} failed" if check.failed else "\nall of it holds")
    sys.exit(1 if check.failed else 0)


main()
