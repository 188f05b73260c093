#!/bin/sh
# backup.sh FOLDER: labels, batches, images and models, into a folder that may hold an earlier backup.
# Needs pg_dump, not older than the server, and rclone; and in the environment GENERATOR_DATABASE_URL,
# LABELING_DATABASE_URL, CANICOR_STORE_URL, CANICOR_MODEL_REPOSITORY and the AWS_* of an S3 store, as the servers
# have them. The servers may go on: databases are read first, and no row is written before the object that it names.
set -eu
. "$(dirname "$0")/objects.sh"
mkdir -p "$1"
pg_dump --format=custom --file="$1/generator.part" "$GENERATOR_DATABASE_URL"
pg_dump --format=custom --file="$1/labeling.part" "$LABELING_DATABASE_URL"
rclone sync --use-server-modtime "$(place "$CANICOR_STORE_URL")" "$1/images"
rclone sync --use-server-modtime "$(place "$CANICOR_MODEL_REPOSITORY")" "$1/models"
mv "$1/generator.part" "$1/generator.dump"
mv "$1/labeling.part" "$1/labeling.dump"
