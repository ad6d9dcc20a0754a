#!/bin/sh
# Makes the secrets that compose.yaml mounts, once: what is there already is kept.
set -eu
umask 077
cd "$(dirname "$0")"
if [ -e secrets ]; then
    echo "secrets/ is there already; remove it, and the volumes made under it, to begin anew" >&2
    exit 1
fi
# In a folder of its own until all of it is there.
rm -rf secrets.new
mkdir secrets.new
random() { openssl rand -hex 32; }
postgres=$(random)
rabbitmq=$(random)
redis=$(random)
jwt=$(openssl rand -base64 48 | tr -d '\n')
printf '%s' "$postgres" > secrets.new/postgres_password
printf 'default_user = wellorder\ndefault_pass = %s\n' "$rabbitmq" > secrets.new/rabbitmq.conf
printf 'requirepass %s\nsave ""\nappendonly no\nmaxmemory 128mb\nmaxmemory-policy allkeys-lru\n' "$redis" > secrets.new/redis.conf
cat > secrets.new/wellorder-sqlite.toml <<END
[auth]
jwt_secret = "$jwt"
END
cat > secrets.new/wellorder.toml <<END
database = "postgres://wellorder:$postgres@postgres:5432/wellorder"

[rabbitmq]
url = "amqp://wellorder:$rabbitmq@rabbitmq:5672/%2f"

[redis]
url = "redis://:$redis@redis:6379/0"

[auth]
jwt_secret = "$jwt"
END
# Files are mounted with the rights that they have here, and each server reads its own as another user. The folder keeps
# this machine's other users out.
chmod 0644 secrets.new/*
mv secrets.new secrets
echo "made secrets/ (0700)"
