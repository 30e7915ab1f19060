#!/bin/bash
# run.sh [OPTIONS] - installs the peers (setup.sh) if they are not there, builds xvpn, and measures all of them beside it.
# OPTIONS are those of the bench; --help lists them.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
"$here/setup.sh" || echo "run.sh: going on without them; the tables say so" >&2
cd "$here/../.."
exec cargo bench --bench throughput -- "$@"
