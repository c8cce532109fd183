// HttpURLConnection or HttpClient: every step in turn, and in JSON what each yielded.

import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.net.HttpURLConnection;
import java.net.InetSocketAddress;
import java.net.ProxySelector;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublisher;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.zip.GZIPInputStream;

public class Client {
    /** How a body is sent. */
    enum Sending { WHOLE, IN_PIECES, WHEN_ASKED_FOR }

    interface Library {
        Outcome call(String method, String path, byte[] body, Sending sending, String... fields)
                throws Exception;
    }

    record Outcome(int status, Map<String, List<String>> fields, byte[] body) {}

    static String base;
    static byte[] file;
    static ProxySelector proxy;

    public static void main(String[] arguments) throws Exception {
        String settings = arguments[0];
        base = setting(settings, "base");
        file = Files.readAllBytes(Path.of(setting(settings, "file")));
        if (setting(settings, "proxy") != null) {
            URI address = URI.create(setting(settings, "proxy"));
            proxy = ProxySelector.of(new InetSocketAddress(address.getHost(), address.getPort()));
        }
        boolean isOld = setting(settings, "library").equals("HttpURLConnection");
        Library library = isOld ? Client::withHttpUrlConnection : withHttpClient();

        List<String> told = new ArrayList<>();
        told.add(tell("odd", get(library, "/a%2Fb//c;v=1?q=%20")));
        told.add(tell("posted", library.call("POST", "/echo", file, Sending.WHOLE)));
        told.add(tell("streamed", library.call("POST", "/echo", file, Sending.IN_PIECES)));
        told.add(tell("asked for", library.call("POST", "/echo", file, Sending.WHEN_ASKED_FOR)));
        told.add(tell("head", library.call("HEAD", "/page", null, Sending.WHOLE)));
        told.add(tell("none", library.call("DELETE", "/none", null, Sending.WHOLE)));
        told.add(tell("unchanged", get(library, "/tagged", "If-None-Match", "\"1\"")));
        told.add(tell("squeezed", get(library, "/gzip", "Accept-Encoding", "gzip")));
        told.add(tell("fields", get(library, "/fields")));
        told.add(tell("led on", get(library, "/redirect")));
        byte[] again = "once more".getBytes(StandardCharsets.UTF_8);
        told.add(tell("led on with a body", library.call("POST", "/moved", again, Sending.WHOLE)));
        String user = Base64.getEncoder().encodeToString("nobody:secret".getBytes());
        told.add(tell("signed in", get(library, "/signed-in", "Authorization", "Basic " + user)));
        Outcome last = null;
        for (int number = 1; number <= 20; number++) {
            last = get(library, "/reuse/" + number);
        }
        told.add(tell("reused", last));
        System.out.println("{" + String.join(",", told) + "}");
    }

    static Outcome get(Library library, String path, String... fields) throws Exception {
        return library.call("GET", path, null, Sending.WHOLE, fields);
    }

    static Outcome withHttpUrlConnection(
            String method, String path, byte[] body, Sending sending, String... fields)
            throws IOException {
        // Where a program that has never heard of proxies gets them from.
        ProxySelector.setDefault(proxy);
        var connection = (HttpURLConnection) URI.create(base + path).toURL().openConnection();
        connection.setConnectTimeout(20_000);
        connection.setReadTimeout(20_000);
        connection.setRequestMethod(method);
        for (int index = 0; index < fields.length; index += 2) {
            connection.setRequestProperty(fields[index], fields[index + 1]);
        }
        if (body != null) {
            connection.setDoOutput(true);
            switch (sending) {
                case WHOLE -> {}
                case IN_PIECES -> connection.setChunkedStreamingMode(7001);
                case WHEN_ASKED_FOR -> {
                    connection.setRequestProperty("Expect", "100-Continue");
                    connection.setFixedLengthStreamingMode(body.length);
                }
            }
            try (var output = connection.getOutputStream()) {
                output.write(body);
            }
        }
        int status = connection.getResponseCode();
        byte[] answer;
        try (InputStream input = connection.getInputStream()) {
            answer = input.readAllBytes();
        }
        return new Outcome(status, connection.getHeaderFields(), answer);
    }

    static Library withHttpClient() {
        var building = HttpClient.newBuilder()
                .connectTimeout(Duration.ofSeconds(20))
                .followRedirects(HttpClient.Redirect.NORMAL);
        if (proxy != null) {
            building.proxy(proxy);
        }
        HttpClient client = building.build();
        return (method, path, body, sending, fields) -> {
            BodyPublisher publisher = BodyPublishers.noBody();
            if (body != null) {
                publisher = sending == Sending.IN_PIECES
                        ? BodyPublishers.ofInputStream(() -> new ByteArrayInputStream(body))
                        : BodyPublishers.ofByteArray(body);
            }
            var request = HttpRequest.newBuilder(URI.create(base + path))
                    .timeout(Duration.ofSeconds(20))
                    .expectContinue(sending == Sending.WHEN_ASKED_FOR)
                    .method(method, publisher);
            if (fields.length > 0) {
                request.headers(fields);
            }
            var response = client.send(request.build(), BodyHandlers.ofByteArray());
            return new Outcome(response.statusCode(), response.headers().map(), response.body());
        };
    }

    static String tell(String step, Outcome outcome) throws IOException {
        var fields = new TreeMap<String, List<String>>();
        outcome.fields().forEach((name, values) -> {
            // The status line has no name, and the old library turns lists round.
            if (name != null && !name.equalsIgnoreCase("date")) {
                fields.put(name.toLowerCase(), values.stream().sorted().toList());
            }
        });
        byte[] body = outcome.body();
        if (fields.containsKey("content-encoding")) {
            body = new GZIPInputStream(new ByteArrayInputStream(body)).readAllBytes();
        }
        String text = Arrays.equals(body, file)
                ? "the file"
                : new String(body, StandardCharsets.ISO_8859_1);
        return quoted(step) + ":{\"status\":" + outcome.status() + ",\"fields\":"
                + quoted(fields.toString()) + ",\"body\":" + quoted(text) + "}";
    }

    /** In ASCII, whatever the encoding of the output is. */
    static String quoted(String text) {
        var quoted = new StringBuilder("\"");
        for (char each : text.toCharArray()) {
            boolean isPlain = each >= ' ' && each < 0x7f && each != '"' && each != '\\';
            quoted.append(isPlain ? String.valueOf(each) : String.format("\\u%04x", (int) each));
        }
        return quoted.append('"').toString();
    }

    /** A string among the settings, none of which has anything to unquote. */
    static String setting(String settings, String name) {
        Matcher found = Pattern.compile('"' + name + "\":\"([^\"]*)\"").matcher(settings);
        return found.find() ? found.group(1) : null;
    }
}
