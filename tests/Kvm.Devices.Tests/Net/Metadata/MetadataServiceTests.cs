using Kvm.Devices.Net.Metadata;

namespace Kvm.Devices.Tests.Net.Metadata;

/// <summary>Requests and answers, as a guest has them over TCP.</summary>
public sealed class MetadataServiceTests
{
    private const string TokenRequest = "PUT /latest/api/token HTTP/1.1\nX-metadata-token-ttl-seconds: 60\n\n";

    private static string Body(string answer) => answer[(answer.IndexOf("\r\n\r\n", StringComparison.Ordinal) + 4)..];

    private static string Status(string answer) => answer.Split("\r\n")[0];

    [Fact]
    public void Answer_has_a_status_a_type_a_length_and_the_value()
    {
        using var guest = new MetadataGuest();
        guest.Ask("GET /latest/meta-data/ami-id HTTP/1.1\nHost: 169.254.169.254\n\n").Should().Be(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\nami-1");
        guest.Ask("GET /latest/meta-data HTTP/1.0\nAccept: application/json\n\n").Should().Be(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 84\r\nConnection: close\r\n\r\n"
            + """{"ami-id":"ami-1","list":["x",{"y":"z"}],"n":43,"tags":{"a/b":"slash","t~":"tilde"}}""");
    }

    [Theory]
    [InlineData("", "latest/\nname")]
    [InlineData("Accept: */*", "latest/\nname")]
    [InlineData("Accept: text/plain", "latest/\nname")]
    [InlineData("Accept: plain/text", "latest/\nname")]
    [InlineData("Accept: text/plain, application/json", "latest/\nname")]
    [InlineData("Accept: image/png", "latest/\nname")]
    [InlineData("accept:APPLICATION/JSON;q=0.9", "{")]
    [InlineData("Accept: image/png , application/json; q=1", "{")]
    public void Form_is_what_is_accepted_first(string header, string body)
    {
        using var guest = new MetadataGuest();
        Body(guest.Ask($"GET / HTTP/1.1\n{header}{(header.Length > 0 ? "\n" : "")}\n")).Should().StartWith(body);
    }

    [Fact]
    public void Whoever_wants_to_be_like_EC2_answers_in_the_plain_form_only()
    {
        using var guest = new MetadataGuest(plainOnly: true);
        string answer = guest.Ask("GET / HTTP/1.1\nAccept: application/json\n\n");
        Body(answer).Should().Be("latest/\nname");
        answer.Should().Contain("Content-Type: text/plain");
    }

    [Theory]
    [InlineData("GET /none HTTP/1.1\n\n", "404 Not Found")]
    [InlineData("GET /latest/meta-data/n HTTP/1.1\n\n", "501 Not Implemented")]
    [InlineData("GET /latest/meta-data/n HTTP/1.1\nAccept: application/json\n\n", "200 OK")]
    [InlineData("GET http://169.254.169.254/name HTTP/1.1\n\n", "200 OK")]
    [InlineData("GET http://169.254.169.254 HTTP/1.1\n\n", "200 OK")]
    [InlineData("GET http:// HTTP/1.1\n\n", "400 Bad Request")]
    [InlineData("GET name HTTP/1.1\n\n", "400 Bad Request")]
    [InlineData("POST /name HTTP/1.1\n\n", "405 Method Not Allowed")]
    [InlineData("PATCH /name HTTP/1.1\nContent-Length: 2\n\n{}", "405 Method Not Allowed")]
    [InlineData("get /name HTTP/1.1\n\n", "405 Method Not Allowed")]
    [InlineData("GET /name HTTP/2.0\n\n", "400 Bad Request")]
    [InlineData("GET /name\n\n", "400 Bad Request")]
    [InlineData("GET  HTTP/1.1\n\n", "400 Bad Request")]
    [InlineData("GET / x HTTP/1.1\n\n", "400 Bad Request")]
    [InlineData(" \n\n", "400 Bad Request")]
    [InlineData("\n\n", "400 Bad Request")]
    [InlineData("GET / HTTP/1.1\nX\n\n", "400 Bad Request")]
    [InlineData("GET / HTTP/1.1\n: x\n\n", "400 Bad Request")]
    [InlineData("GET / HTTP/1.1\nHost : x\n\n", "400 Bad Request")]
    [InlineData("GET / HTTP/1.1\nHost: x\n folded\n\n", "400 Bad Request")]
    [InlineData("GET / HTTP/1.1\nContent-Length: -1\n\n", "400 Bad Request")]
    [InlineData("GET / HTTP/1.1\nContent-Length: 1x\n\n", "400 Bad Request")]
    [InlineData("GET / HTTP/1.1\nContent-Length: 99999999999999999999\n\n", "400 Bad Request")]
    [InlineData("GET / HTTP/1.1\nContent-Length: 1048576\n\n", "413 Content Too Large")]
    [InlineData("GET / HTTP/1.1\nTransfer-Encoding: chunked\n\n", "501 Not Implemented")]
    [InlineData("PUT /latest/api/token HTTP/1.1\n\n", "400 Bad Request")]
    [InlineData("PUT /latest/api/token HTTP/1.1\nX-metadata-token-ttl-seconds: 0\n\n", "400 Bad Request")]
    [InlineData("PUT /latest/api/token HTTP/1.1\nX-metadata-token-ttl-seconds: 21601\n\n", "400 Bad Request")]
    [InlineData("PUT /latest/api/token HTTP/1.1\nX-metadata-token-ttl-seconds: ten\n\n", "400 Bad Request")]
    [InlineData("PUT /latest/api/token HTTP/1.1\nX-metadata-token-ttl-seconds: 60\nx-FORWARDED-for: 1.2.3.4\n\n", "400 Bad Request")]
    [InlineData("PUT /latest/api HTTP/1.1\nX-metadata-token-ttl-seconds: 60\n\n", "404 Not Found")]
    [InlineData("PUT /latest/api/tokens HTTP/1.1\nX-metadata-token-ttl-seconds: 60\n\n", "404 Not Found")]
    [InlineData("PUT //latest/api/token/ HTTP/1.1\nX-metadata-token-ttl-seconds: 21600\n\n", "200 OK")]
    [InlineData("PUT /latest/api/token HTTP/1.1\nX-aws-ec2-metadata-token-ttl-seconds: 1\n\n", "200 OK")]
    public void Status_says_what_became_of_a_request_of_version_1(string request, string status)
    {
        using var guest = new MetadataGuest();
        Status(guest.Ask(request)).Should().Be($"HTTP/1.1 {status}");
        guest.Answers.Counters.Requests.Should().Be(1);
        guest.Answers.Counters.Refused.Should().Be(status == "200 OK" ? 0 : 1);
    }

    [Fact]
    public void Method_that_is_not_allowed_says_which_are()
    {
        using var guest = new MetadataGuest();
        guest.Ask("DELETE /name HTTP/1.1\n\n").Should().Contain("\r\nAllow: GET, PUT\r\n");
    }

    [Theory]
    [InlineData("X-metadata-token")]
    [InlineData("X-aws-ec2-metadata-token")]
    [InlineData("x-METADATA-token")]
    public void Version_2_answers_who_says_a_token_until_it_ends(string header)
    {
        using var guest = new MetadataGuest(version: MetadataVersion.V2);
        string answer = guest.Ask(TokenRequest), token = Body(answer);
        answer.Should().Contain("\r\nX-metadata-token-ttl-seconds: 60\r\n").And.Contain("Content-Type: text/plain");
        token.Should().HaveLength(44);
        string question = $"GET /name HTTP/1.1\n{header}: {token}\n\n";
        Status(guest.Ask(question)).Should().Be("HTTP/1.1 200 OK");
        guest.Time.Advance(TimeSpan.FromSeconds(59));
        Status(guest.Ask(question)).Should().Be("HTTP/1.1 200 OK");
        guest.Time.Advance(TimeSpan.FromSeconds(1));
        Status(guest.Ask(question)).Should().Be("HTTP/1.1 401 Unauthorized");
        guest.Answers.Counters.Tokens.Should().Be(1);
    }

    [Fact]
    public void Version_2_answers_nobody_without_a_good_token_and_version_1_whoever_asks()
    {
        using var second = new MetadataGuest(version: MetadataVersion.V2);
        using var first = new MetadataGuest(version: MetadataVersion.V1);
        string token = Body(second.Ask(TokenRequest));
        foreach (string header in (string[])["", "X-metadata-token:\n", $"X-metadata-token: {token[..43]}\n", $"X-metadata-token: {token}=\n", $"X-metadata-token: {token[1..]}A\n"])
        {
            Status(second.Ask($"GET /name HTTP/1.1\n{header}\n")).Should().Be("HTTP/1.1 401 Unauthorized");
            Status(first.Ask($"GET /name HTTP/1.1\n{header}\n")).Should().Be("HTTP/1.1 200 OK");
        }

        Status(second.Ask($"GET /none HTTP/1.1\nX-metadata-token: {token}\n\n")).Should().Be("HTTP/1.1 404 Not Found");
        Status(second.Ask($"POST /name HTTP/1.1\nX-metadata-token: {token}\n\n")).Should().Be("HTTP/1.1 405 Method Not Allowed");
    }

    [Fact]
    public void With_a_token_too_many_the_one_that_ends_first_is_forgotten()
    {
        var tokens = new MetadataTokens(new SeededNumbers(), new Support.ManualTime());
        byte[] Make(int seconds)
        {
            byte[] token = new byte[MetadataTokens.Length];
            tokens.Make(seconds, token);
            return token;
        }

        byte[] shortest = Make(30), longest = Make(21_600);
        for (int i = 2; i < MetadataTokens.Most; i++)
            Make(600);
        tokens.IsGood(shortest).Should().BeTrue();
        Make(600);
        tokens.IsGood(shortest).Should().BeFalse();
        tokens.IsGood(longest).Should().BeTrue();
    }

    [Fact]
    public void Data_that_is_changed_while_it_runs_is_what_the_next_question_gets()
    {
        using var guest = new MetadataGuest();
        MetadataTree.Parse("""{"name": "new"}"""u8, out var tree).Should().BeNull();
        guest.Answers.Tree = tree!;
        Body(guest.Ask("GET /name HTTP/1.1\n\n")).Should().Be("new");
    }
}
