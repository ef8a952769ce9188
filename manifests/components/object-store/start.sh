# SeaweedFS with its bucket. It keeps a bucket in volumes of at most VOLUME_MB, makes seven of them at
# a time, and answers writes with errors, or not at all, where there is no room for one more.
set -eu
df -Pm /data | {
  read -r _
  read -r _ room _
  if [ "$room" -lt $((14 * VOLUME_MB)) ]; then
    echo "object store: error: /data has $room MiB, VOLUME_MB $VOLUME_MB needs 14 times as much." \
      "Enlarge the claim, or set VOLUME_MB to a fortieth of the disk." >&2
    exit 2
  fi
}

shell() { echo "$1" | timeout 20 weed shell -master=127.0.0.1:9333 -filer=127.0.0.1:8888 2>&1; }

make_bucket() {
  until shell s3.bucket.list | grep -q '^ *lidr\>'; do
    shell 's3.bucket.create -name lidr' || true
    sleep 1
  done
}
make_bucket >/dev/null &

# Its parts meet inside the pod; the S3 port is the only one let in.
exec weed -logtostderr=true server -dir=/data -ip=127.0.0.1 -ip.bind=0.0.0.0 -s3 -s3.port=8333 \
  -volume.max=0 -master.volumeSizeLimitMB="$VOLUME_MB"  # as many volumes as the disk takes
