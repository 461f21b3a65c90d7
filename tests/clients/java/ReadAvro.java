import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.io.PrintStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Collection;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericFixed;
import org.apache.avro.generic.IndexedRecord;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * Reads a topic with Apache's own Kafka and Avro, and prints each message as a line of JSON, as read_avro.py does:
 *
 * <p>ReadAvro --bootstrap SERVERS --registry URL --topic NAME --count N [--timeout SECONDS]
 */
public final class ReadAvro {
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final JsonNodeFactory NODES = JsonNodeFactory.instance;

  private final String registry;
  private final HttpClient http =
      HttpClient.newBuilder().connectTimeout(Duration.ofSeconds(10)).build();
  private final Map<Integer, Schema> schemas = new HashMap<>();

  private ReadAvro(String registry) {
    this.registry = registry.replaceAll("/+$", "");
  }

  /** What the caller is told, without a stack trace. */
  private static final class Failure extends Exception {
    Failure(String message) {
      super(message);
    }
  }

  public static void main(String[] arguments) {
    try {
      run(options(arguments));
    } catch (Failure failure) {
      System.err.println("ReadAvro: " + failure.getMessage());
      System.exit(1);
    } catch (Exception error) {
      System.err.println("ReadAvro: " + error);
      System.exit(1);
    }
  }

  private static Map<String, String> options(String[] arguments) throws Failure {
    Map<String, String> options = new HashMap<>(Map.of("--timeout", "60"));
    List<String> known = List.of("--bootstrap", "--registry", "--topic", "--count", "--timeout");
    for (int i = 0; i < arguments.length; i += 2) {
      if (!known.contains(arguments[i]) || i + 1 == arguments.length) {
        throw new Failure("unknown option, or one without a value: " + arguments[i]);
      }
      options.put(arguments[i], arguments[i + 1]);
    }
    for (String name : known) {
      if (!options.containsKey(name)) {
        throw new Failure("say " + name);
      }
    }
    return options;
  }

  private static void run(Map<String, String> options) throws Exception {
    ReadAvro reader = new ReadAvro(options.get("--registry"));
    PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
    String topic = options.get("--topic");
    int count = Integer.parseInt(options.get("--count"));
    double timeout = Double.parseDouble(options.get("--timeout"));
    long deadline = System.nanoTime() + (long) (timeout * 1e9);
    // No group: the partitions are assigned, and nothing is committed.
    Map<String, Object> settings =
        Map.of(
            "bootstrap.servers", options.get("--bootstrap"),
            "enable.auto.commit", false,
            "auto.offset.reset", "none",
            "isolation.level", "read_committed",
            "allow.auto.create.topics", false,
            "default.api.timeout.ms", (int) (timeout * 1000));
    ByteArrayDeserializer bytes = new ByteArrayDeserializer();
    try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(settings, bytes, bytes)) {
      List<TopicPartition> partitions =
          consumer.partitionsFor(topic).stream()
              .map(partition -> new TopicPartition(topic, partition.partition()))
              .toList();
      if (partitions.isEmpty()) {
        throw new Failure("topic " + topic + " does not exist");
      }
      consumer.assign(partitions);
      consumer.seekToBeginning(partitions);
      int read = 0;
      while (read < count) {
        long left = deadline - System.nanoTime();
        if (left <= 0) {
          throw new Failure(
              "only " + read + " of " + count + " messages came within " + options.get("--timeout") + " seconds");
        }
        for (ConsumerRecord<byte[], byte[]> message : consumer.poll(Duration.ofNanos(left))) {
          if (read++ == count) {
            return;
          }
          try {
            out.println(JSON.writeValueAsString(reader.line(message)));
          } catch (Exception error) {
            String what = error instanceof Failure ? error.getMessage() : error.toString();
            throw new Failure("partition " + message.partition() + ", offset " + message.offset() + ": " + what);
          }
        }
      }
    }
  }

  private ObjectNode line(ConsumerRecord<byte[], byte[]> message) throws Exception {
    ObjectNode line = NODES.objectNode();
    line.put("partition", message.partition());
    line.put("offset", message.offset());
    line.put("key", text(message.key()));
    ObjectNode headers = line.putObject("headers");
    for (Header header : message.headers()) {
      headers.put(header.key(), text(header.value()));
    }
    byte[] value = message.value();
    if (value == null) {
      line.putNull("value").putNull("record").put("format", "null");
    } else if (value.length > 0 && value[0] == 0) {
      Schema schema = schema(ByteBuffer.wrap(value).getInt(1));
      line.set("value", json(decoded(schema, value)));
      line.put("record", schema.getFullName()).put("format", "avro");
    } else {
      line.set("value", JSON.readTree(value));
      line.putNull("record").put("format", "json");
    }
    return line;
  }

  private Schema schema(int id) throws IOException, InterruptedException, Failure {
    Schema known = schemas.get(id);
    if (known != null) {
      return known;
    }
    HttpRequest request =
        HttpRequest.newBuilder(URI.create(registry + "/schemas/ids/" + id))
            .timeout(Duration.ofSeconds(30))
            .header("Accept", "application/vnd.schemaregistry.v1+json")
            .build();
    HttpResponse<String> response = http.send(request, HttpResponse.BodyHandlers.ofString());
    if (response.statusCode() != 200) {
      throw new Failure("schema " + id + ": " + response.statusCode() + " " + response.body());
    }
    JsonNode text = JSON.readTree(response.body()).get("schema");
    Schema schema = new Schema.Parser().parse(text.textValue());
    schemas.put(id, schema);
    return schema;
  }

  private static Object decoded(Schema schema, byte[] value) throws IOException, Failure {
    BinaryDecoder decoder = DecoderFactory.get().binaryDecoder(value, 5, value.length - 5, null);
    Object decoded = new GenericDatumReader<>(schema).read(null, decoder);
    if (!decoder.isEnd()) {
      throw new Failure("bytes are left behind the record");
    }
    return decoded;
  }

  // Logical types are not converted: a timestamp stays its number, a UUID its text.
  private static JsonNode json(Object value) throws Failure {
    if (value == null) {
      return NODES.nullNode();
    } else if (value instanceof IndexedRecord record) {
      ObjectNode node = NODES.objectNode();
      for (Schema.Field field : record.getSchema().getFields()) {
        node.set(field.name(), json(record.get(field.pos())));
      }
      return node;
    } else if (value instanceof Map<?, ?> map) {
      ObjectNode node = NODES.objectNode();
      for (Map.Entry<?, ?> entry : map.entrySet()) {
        node.set(entry.getKey().toString(), json(entry.getValue()));
      }
      return node;
    } else if (value instanceof Collection<?> items) {
      ArrayNode node = NODES.arrayNode();
      for (Object item : items) {
        node.add(json(item));
      }
      return node;
    } else if (value instanceof ByteBuffer buffer) {
      byte[] bytes = new byte[buffer.remaining()];
      buffer.duplicate().get(bytes);
      return NODES.textNode(HexFormat.of().formatHex(bytes));
    } else if (value instanceof GenericFixed fixed) {
      return NODES.textNode(HexFormat.of().formatHex(fixed.bytes()));
    } else if (value instanceof Boolean flag) {
      return NODES.booleanNode(flag);
    } else if (value instanceof Integer number) {
      return NODES.numberNode(number);
    } else if (value instanceof Long number) {
      return NODES.numberNode(number);
    } else if (value instanceof Float number) {
      return NODES.numberNode(number);
    } else if (value instanceof Double number) {
      return NODES.numberNode(number);
    }
    return NODES.textNode(value.toString()); // a string or an enum's symbol
  }

  private static String text(byte[] value) {
    return value == null ? null : new String(value, StandardCharsets.UTF_8);
  }
}
