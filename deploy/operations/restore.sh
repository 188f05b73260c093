#!/bin/sh
# restore.sh FOLDER: what backup.sh wrote, back where the environment says (see there), in place of what is there.
# The servers are stopped for it: scale them to none first.
set -eu
. "$(dirname "$0")/objects.sh"
# All or nothing: not before the whole backup is found.
for part in generator.dump labeling.dump images models; do
    [ -e "$1/$part" ] || { echo "$1 holds no whole backup: there is no $part." >&2; exit 1; }
done
rclone sync "$1/images" "$(place "$CANICOR_STORE_URL")"
rclone sync "$1/models" "$(place "$CANICOR_MODEL_REPOSITORY")"
pg_restore --clean --if-exists --no-owner --single-transaction --dbname="$GENERATOR_DATABASE_URL" "$1/generator.dump"
pg_restore --clean --if-exists --no-owner --single-transaction --dbname="$LABELING_DATABASE_URL" "$1/labeling.dump"
