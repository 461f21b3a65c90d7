# Apache Kafka in KRaft mode, one node or a replicated cluster of three. Its jars come from Maven; the version
# is pinned in kafka.pom.xml. Sourced by scripts/services.
#
# One node also listens with TLS and SASL (user "fintech", password "fintech-secret", mechanisms PLAIN,
# SCRAM-SHA-256 and SCRAM-SHA-512), so that the security settings can be tried on the real thing.

kafka_note=$state/kafka
kafka_user=fintech
kafka_password=fintech-secret

# Sets kafka_folder and kafka_nodes to what is running; fails when nothing is.
read_kafka_note() {
  [ -f "$kafka_note" ] || return 1
  { read -r kafka_folder && read -r kafka_nodes; } <"$kafka_note"
}

kafka_version() { sed -n 's:.*<kafka.version>\(.*\)</kafka.version>.*:\1:p' scripts/services.d/kafka.pom.xml; }

# Where the jars are: Kafka's own tools run from there, too.
kafka_libs() { printf '%s/target/kafka-%s\n' "$PWD" "$(kafka_version)"; }

fetch_kafka() {
  local libs
  libs=$(kafka_libs)
  if [ -f "$libs/complete" ]; then return; fi
  command -v java >/dev/null || install Java default-jre-headless
  command -v mvn >/dev/null || install Maven maven
  say "fetching Apache Kafka $(kafka_version) with Maven"
  mkdir -p "$libs"
  mvn -q -B -f scripts/services.d/kafka.pom.xml dependency:copy-dependencies \
    -DoutputDirectory="$libs" -DincludeScope=runtime </dev/null >"$state/maven.log" 2>&1 ||
    fail "Maven could not fetch Kafka: $(tail -n 5 "$state/maven.log")"
  touch "$libs/complete"
}

# kafka CLASS ARGUMENT...
kafka() {
  local class=$1
  shift
  java -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$(kafka_libs)/*" "$class" "$@"
}

kafka_properties() {
  local node=$1 replicas=$2 voters=$3
  local broker controller secure
  read -r broker controller secure <"$kafka_folder/$node/ports"
  cat <<PROPERTIES
process.roles=broker,controller
node.id=$node
controller.listener.names=CONTROLLER
log.dirs=$kafka_folder/$node/data
auto.create.topics.enable=false
offsets.topic.num.partitions=8
offsets.topic.replication.factor=$replicas
transaction.state.log.num.partitions=8
transaction.state.log.replication.factor=$replicas
transaction.state.log.min.isr=$(((replicas + 1) / 2))
share.coordinator.state.topic.replication.factor=$replicas
share.coordinator.state.topic.min.isr=1
default.replication.factor=$replicas
min.insync.replicas=$(((replicas + 1) / 2))
group.initial.rebalance.delay.ms=0
PROPERTIES
  if [ "$replicas" = 1 ]; then
    local login="org.apache.kafka.common.security.plain.PlainLoginModule required user_$kafka_user=\"$kafka_password\";"
    cat <<PROPERTIES
controller.quorum.bootstrap.servers=127.0.0.1:$controller
listeners=PLAINTEXT://127.0.0.1:$broker,SASL_SSL://127.0.0.1:$secure,CONTROLLER://127.0.0.1:$controller
advertised.listeners=PLAINTEXT://127.0.0.1:$broker,SASL_SSL://127.0.0.1:$secure
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
listener.name.sasl_ssl.plain.sasl.jaas.config=$login
listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
ssl.keystore.location=$kafka_folder/keystore.p12
ssl.keystore.password=$kafka_password
PROPERTIES
  else
    cat <<PROPERTIES
controller.quorum.voters=$voters
listeners=PLAINTEXT://127.0.0.1:$broker,CONTROLLER://127.0.0.1:$controller
advertised.listeners=PLAINTEXT://127.0.0.1:$broker
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
PROPERTIES
  fi
}

kafka_up() {
  local replicas=$1 node id voters= format=()
  fetch_kafka
  kafka_folder=$(mktemp -d /tmp/fintech-kafka.XXXXXX)
  kafka_nodes=$replicas
  printf '%s\n' "$kafka_folder" "$kafka_nodes" >"$kafka_note"
  cat >"$kafka_folder/log4j2.properties" <<'LOG4J'
rootLogger.level=warn
rootLogger.appenderRef.out.ref=out
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=[%d] %p %m (%c)%n
LOG4J
  for node in $(seq "$replicas"); do
    mkdir -p "$kafka_folder/$node"
    echo "$(free_port) $(free_port) $(free_port)" >"$kafka_folder/$node/ports"
    voters+=${voters:+,}$node@127.0.0.1:$(cut -d' ' -f2 "$kafka_folder/$node/ports")
  done
  if [ "$replicas" = 1 ]; then
    keytool -genkeypair -alias broker -keyalg EC -dname CN=127.0.0.1 -ext san=ip:127.0.0.1,dns:localhost \
      -validity 365 -storetype PKCS12 -keystore "$kafka_folder/keystore.p12" -storepass "$kafka_password" 2>/dev/null
    keytool -exportcert -rfc -alias broker -keystore "$kafka_folder/keystore.p12" -storepass "$kafka_password" \
      >"$kafka_folder/ca.pem" 2>/dev/null
    format=(--standalone)
    for mechanism in SCRAM-SHA-256 SCRAM-SHA-512; do
      format+=(--add-scram "$mechanism=[name=$kafka_user,password=$kafka_password]")
    done
  fi
  # What the cluster is to know, as an older one does: FINTECH_KAFKA_FEATURES="transaction.version=0"
  for feature in ${FINTECH_KAFKA_FEATURES:-}; do format+=(--feature "$feature"); done
  id=$(kafka kafka.tools.StorageTool random-uuid 2>/dev/null)
  for node in $(seq "$replicas"); do
    kafka_properties "$node" "$replicas" "$voters" >"$kafka_folder/$node/server.properties"
    kafka kafka.tools.StorageTool format -t "$id" -c "$kafka_folder/$node/server.properties" "${format[@]}" \
      </dev/null >"$kafka_folder/$node/log" 2>&1 || fail "Kafka's storage could not be made: $(tail -n 3 "$kafka_folder/$node/log")"
    kafka_launch "$node"
  done
  for node in $(seq "$replicas"); do kafka_wait "$node"; done
}

kafka_launch() {
  local node=$1 heap=768m
  if [ "$kafka_nodes" != 1 ]; then heap=512m; fi
  setsid java "-Xms$heap" "-Xmx$heap" -XX:+UseG1GC "-Dlog4j2.configurationFile=$kafka_folder/log4j2.properties" \
    -cp "$(kafka_libs)/*" kafka.Kafka "$kafka_folder/$node/server.properties" \
    </dev/null >>"$kafka_folder/$node/log" 2>&1 &
  echo $! >"$kafka_folder/$node/pid"
}

# The process that was started for a node, if it still runs and is that one.
kafka_node_runs() {
  local pid
  pid=$(cat "$kafka_folder/$1/pid" 2>/dev/null) || return 1
  tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF "$kafka_folder/$1/server.properties"
}

kafka_port() { cut -d' ' -f1 "$kafka_folder/$1/ports"; }

kafka_wait() {
  local node=$1
  for _ in $(seq 600); do
    # Not by its command line, which it has only when Java has taken the place of the shell.
    kill -0 "$(cat "$kafka_folder/$node/pid")" 2>/dev/null ||
      fail "Kafka node $node ended: $(tail -n 5 "$kafka_folder/$node/log")"
    if ! is_free "$(kafka_port "$node")"; then return; fi
    sleep 0.1
  done
  fail "Kafka node $node does not answer: $(tail -n 5 "$kafka_folder/$node/log")"
}

kafka_is_running() {
  local node
  read_kafka_note || return 1
  for node in $(seq "$kafka_nodes"); do
    if kafka_node_runs "$node"; then return 0; fi
  done
  return 1
}

kafka_show() {
  local node servers=
  for node in $(seq "$kafka_nodes"); do servers+=${servers:+,}127.0.0.1:$(kafka_port "$node"); done
  printf 'export Kafka__BootstrapServers=%s\nexport FINTECH_TEST_KAFKA=%s\n' "$servers" "$servers"
  if [ "$kafka_nodes" = 1 ]; then
    printf 'export FINTECH_TEST_KAFKA_SECURE=127.0.0.1:%s\nexport FINTECH_TEST_KAFKA_CA=%s/ca.pem\n' \
      "$(cut -d' ' -f3 "$kafka_folder/1/ports")" "$kafka_folder"
  fi
}

# kill SIGNAL NODE, and wait until it is gone.
kafka_end_node() {
  local pid
  kafka_node_runs "$2" || return 0
  pid=$(cat "$kafka_folder/$2/pid")
  kill "-$1" "$pid" 2>/dev/null || true
  for _ in $(seq 300); do
    kafka_node_runs "$2" || return 0
    sleep 0.1
  done
  kill -KILL "$pid" 2>/dev/null || true
}

# As an outage is: at once, without a word to the clients.
kafka_stop_node() {
  read_kafka_note || fail "Kafka is not running"
  kafka_end_node KILL "$1"
}

kafka_start_node() {
  read_kafka_note || fail "Kafka was not started"
  [ -d "$kafka_folder/$1" ] || fail "there is no node $1"
  kafka_node_runs "$1" || kafka_launch "$1"
  kafka_wait "$1"
}

kafka_down() {
  local node
  if read_kafka_note; then
    for node in $(seq "$kafka_nodes"); do kafka_end_node KILL "$node"; done
    case $kafka_folder in /tmp/fintech-kafka.*) rm -rf "$kafka_folder" ;; esac
    rm -f "$kafka_note"
  fi
}
