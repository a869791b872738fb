#!/bin/sh
# deploy/certificates.sh [FOLDER]: a private authority and one certificate for each service, valid for a year, written
# where docker-compose.yml mounts them. Run as root, so that each key can be given to the account that reads it; run
# again to renew. The authority's own key stays in FOLDER/authority: keep it off the server, put it back to renew.
# Or bring your own: each folder takes ca.pem, cert.pem and key.pem (PEM), the names are in `issue` below.
set -eu
folder="${1:-$(dirname "$0")/production}"
authority="$folder/authority"
umask 077

[ "$(id -u)" = 0 ] || { echo "run it as root: each key belongs to the account of its container" >&2 && exit 1; }
mkdir -p "$authority"

if [ ! -f "$authority/key.pem" ]; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 3650 -subj "/CN=Amrutam private authority" \
        -addext "keyUsage=critical,keyCertSign,cRLSign" -keyout "$authority/key.pem" -out "$authority/ca.pem" 2>/dev/null
fi

trust() { # who may check certificates
    mkdir -p "$folder/$1"
    install -m 0644 "$authority/ca.pem" "$folder/$1/ca.pem"
    chmod 0755 "$folder/$1"
}

issue() { # the service, which is its host name, the numeric account of its container, and further host names
    trust "$1"
    names="DNS:$1"
    for name in ${3-}; do names="$names,DNS:$name"; done
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -subj "/CN=$1" \
        -keyout "$authority/$1.key" -out "$authority/$1.csr" 2>/dev/null
    printf 'subjectAltName=%s,DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n' "$names" \
        >"$authority/$1.extensions"
    openssl x509 -req -in "$authority/$1.csr" -CA "$authority/ca.pem" -CAkey "$authority/key.pem" -days 365 \
        -extfile "$authority/$1.extensions" -out "$authority/$1.pem" 2>/dev/null
    install -m 0644 "$authority/$1.pem" "$folder/$1/cert.pem"
    install -m 0400 -o "$2" -g "$2" "$authority/$1.key" "$folder/$1/key.pem"
    rm "$authority/$1.key" "$authority/$1.csr" "$authority/$1.extensions" "$authority/$1.pem"
}

issue postgres 999 "postgres-replica-1 postgres-replica-2"
issue valkey 999
issue temporal 1000
issue temporal-ui 1000
issue amrutam 10001
trust postgres-clients
chmod 0755 "$folder"
echo "certificates are in $folder; move $authority to a safe place"
