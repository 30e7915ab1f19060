#!/bin/sh
# Makes the certificates, CRLs and OCSP responses of tests/x509_crl.rs and tests/x509_ocsp.rs with OpenSSL 3.0 (`openssl ca`,
# `openssl ocsp`), so that the other end is not our own code. `now` is the moment at which all of it is valid.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

cat > ca.cnf <<'CNF'
[ca]
default_ca = main
[main]
database = index.txt
serial = serial
crlnumber = crlnumber
new_certs_dir = .
default_md = sha256
policy = any
default_days = 7300
unique_subject = no
[any]
commonName = supplied
[req]
distinguished_name = dn
[dn]
[root]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
[gateway]
basicConstraints = CA:FALSE
subjectAltName = DNS:alice.example
keyUsage = digitalSignature
crlDistributionPoints = URI:http://192.0.2.1/ca.crl,URI:ldap://192.0.2.1/ca
authorityInfoAccess = OCSP;URI:http://192.0.2.1:8080/ocsp
[responder]
basicConstraints = CA:FALSE
keyUsage = digitalSignature
extendedKeyUsage = OCSPSigning
[unchecked]
basicConstraints = CA:FALSE
keyUsage = digitalSignature
extendedKeyUsage = OCSPSigning
noCheck = ignored
[plain]
authorityKeyIdentifier = keyid
[delta]
authorityKeyIdentifier = keyid
2.5.29.27 = critical,DER:020101
[indirect]
issuingDistributionPoint = critical,@indirect_point
[indirect_point]
fullname = URI:http://192.0.2.1/ca.crl
indirectCRL = TRUE
[point]
issuingDistributionPoint = critical,@same_point
[same_point]
fullname = URI:http://192.0.2.1/ca.crl
onlyuser = TRUE
[elsewhere]
issuingDistributionPoint = critical,@other_point
[other_point]
fullname = URI:http://192.0.2.1/other.crl
[authorities]
issuingDistributionPoint = critical,@authorities_point
[authorities_point]
fullname = URI:http://192.0.2.1/ca.crl
onlyCA = TRUE
[reasons]
issuingDistributionPoint = critical,@reasons_point
[reasons_point]
fullname = URI:http://192.0.2.1/ca.crl
onlysomereasons = keyCompromise
CNF

key() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1.key" 2>/dev/null; }
issue() { # NAME EXTENSIONS: by the authority in ca.pem
    key "$1"
    openssl req -new -config ca.cnf -key "$1.key" -subj "/CN=$1.example" -out "$1.csr"
    openssl ca -batch -notext -config ca.cnf -extensions "$2" -cert ca.pem -keyfile ca.key -in "$1.csr" -out "$1.pem" 2>/dev/null
}
crl() { # NAME EXTENSIONS [OPTIONS]
    name=$1 extensions=$2
    shift 2
    openssl ca -config ca.cnf -gencrl -crlexts "$extensions" -cert ca.pem -keyfile ca.key "$@" -out "$name.pem" 2>/dev/null
    openssl crl -in "$name.pem" -outform DER -out "$here/$name.crl"
}

touch index.txt
echo F000 > serial
echo 01 > crlnumber
for name in other ca; do
    key $name
    openssl req -x509 -config ca.cnf -extensions root -key $name.key -subj "/CN=The CA" -days 7300 -out $name.pem
done
issue good gateway
issue revoked gateway
issue held gateway
issue responder responder
issue unchecked unchecked
issue usurper gateway
openssl ca -config ca.cnf -cert ca.pem -keyfile ca.key -revoke revoked.pem -crl_reason keyCompromise 2>/dev/null
openssl ca -config ca.cnf -cert ca.pem -keyfile ca.key -revoke held.pem 2>/dev/null

crl complete plain -crldays 30
crl stale plain -crl_lastupdate 20240101000000Z -crl_nextupdate 20240201000000Z
crl early plain -crl_lastupdate 20490101000000Z -crl_nextupdate 20490201000000Z
crl delta delta -crldays 30
crl indirect indirect -crldays 30
crl point point -crldays 30
crl elsewhere elsewhere -crldays 30
crl authorities authorities -crldays 30
crl reasons reasons -crldays 30
sed 's/^crlnumber.*//' ca.cnf > v1.cnf
openssl ca -config v1.cnf -gencrl -crldays 30 -cert ca.pem -keyfile ca.key -out v1.pem 2>/dev/null
openssl crl -in v1.pem -outform DER -out "$here/version1.crl"
# By another authority of the same name: another key.
openssl ca -config ca.cnf -gencrl -crlexts plain -crldays 30 -cert other.pem -keyfile other.key -out forged.pem 2>/dev/null
openssl crl -in forged.pem -outform DER -out "$here/forged.crl"

# The same authority, by a certificate without cRLSign.
sed 's/keyCertSign,cRLSign/keyCertSign/' ca.cnf > no-crl-sign.cnf
openssl req -x509 -config no-crl-sign.cnf -extensions root -key ca.key -subj "/CN=The CA" -days 7300 -out no-crl-sign.pem

answer() { # NAME CERTIFICATE SIGNER [OPTIONS]
    name=$1 subject=$2 signer=$3
    shift 3
    openssl ocsp "$@" -issuer ca.pem -cert "$subject.pem" -reqout "$name.req" 2>/dev/null
    openssl ocsp -index index.txt -CA ca.pem -rsigner "$signer.pem" -rkey "$signer.key" -reqin "$name.req" \
        -respout "$here/$name.ocsp" $responder >/dev/null 2>&1
}
responder='-ndays 7'
answer good good ca -no_nonce
answer good-sha256 good ca -no_nonce -sha256
answer good-nonce good ca
cp good-nonce.req "$here/"
answer revoked revoked ca -no_nonce
answer delegated good responder -no_nonce
answer delegated-unchecked good unchecked -no_nonce
answer usurped good usurper -no_nonce
responder='-ndays 7 -resp_key_id'
answer delegated-by-key revoked responder -no_nonce
responder=''
answer no-next-update good ca -no_nonce
responder='-ndays 7'
# A certificate that is not in the index is unknown.
: > empty.txt
openssl ocsp -issuer ca.pem -cert good.pem -no_nonce -reqout unknown.req
openssl ocsp -index empty.txt -CA ca.pem -rsigner ca.pem -rkey ca.key -reqin unknown.req -ndays 7 -respout "$here/unknown.ocsp" >/dev/null 2>&1

# Both responders are revoked, by a CRL that is out of date, so that it says no more than that.
for name in responder unchecked; do
    openssl ca -config ca.cnf -cert ca.pem -keyfile ca.key -revoke $name.pem 2>/dev/null
done
crl responders plain -crl_lastupdate 20240101000000Z -crl_nextupdate 20240201000000Z

for name in ca no-crl-sign other good revoked held responder usurper; do
    openssl x509 -in $name.pem -outform DER -out "$here/$name.cert"
done
for name in good revoked; do
    openssl pkcs8 -topk8 -nocrypt -in $name.key -outform DER -out "$here/$name.key"
done
date +%s > "$here/now"
