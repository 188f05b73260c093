# What rclone calls the place of a store's URL; backup.sh and restore.sh read this.
# Credentials and region come from AWS_*, as the servers have them.
export RCLONE_CONFIG_S3_TYPE=s3 RCLONE_CONFIG_S3_PROVIDER=Other RCLONE_CONFIG_S3_ENV_AUTH=true
export RCLONE_CONFIG_S3_ENDPOINT="${AWS_ENDPOINT_URL:-}" RCLONE_CONFIG_S3_REGION="${AWS_REGION:-}"
# No configuration but this one.
export RCLONE_CONFIG=/dev/null
# Its own name for the authorities; with Amazon's it does not start.
[ -z "${AWS_CA_BUNDLE:-}" ] || export RCLONE_CA_CERT="$AWS_CA_BUNDLE"
unset AWS_CA_BUNDLE

place() {
    case "$1" in
        s3://*) echo "s3:${1#s3://}" ;;
        file://*) echo "${1#file://}" ;;
        *) echo "$1 is neither an s3:// nor a file:// URL." >&2; exit 1 ;;
    esac
}
