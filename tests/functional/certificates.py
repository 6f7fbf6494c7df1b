"""Certificate authorities and what they sign, made with openssl(1) in a test's own directory."""

import subprocess

EC = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


def openssl(*args):
    subprocess.run(["openssl", *args], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def make_ca(directory, name="ca"):
    """(key, certificate) of a new authority."""
    key, cert = "%s/%s.key" % (directory, name), "%s/%s.pem" % (directory, name)
    openssl("req", "-x509", *EC, "-keyout", key, "-out", cert, "-days", "30", "-subj", "/CN=Test CA " + name)
    return key, cert


def make_cert(directory, ca, name, san=None):
    """(key, certificate) of `name`, signed by `ca`; `san`: "DNS:localhost", for servers."""
    key, csr, cert = ("%s/%s.%s" % (directory, name, e) for e in ("key", "csr", "pem"))
    openssl("req", *EC, "-keyout", key, "-out", csr, "-subj", "/CN=" + name)
    extra = []
    if san:
        with open(directory + "/san.ext", "w", encoding="utf-8") as f:
            f.write("subjectAltName=" + san + "\n")
        extra = ["-extfile", directory + "/san.ext"]
    openssl("x509", "-req", "-in", csr, "-CA", ca[1], "-CAkey", ca[0], "-CAcreateserial", "-days", "30", "-out", cert,
            *extra)
    return key, cert


def make_server(directory, ca, name="server"):
    return make_cert(directory, ca, name, "DNS:localhost,IP:127.0.0.1")
