using System.Buffers;
using System.Text;
using System.Text.Json;
using Kvm.Vmm.Control;

namespace Kvm.Vmm.Tests.Control;

public class ControlProtocolTests
{
    private static readonly IControlRequest[] s_requests = [new StatisticsRequest(), new Echo()];

    [Fact]
    public void A_request_is_understood_as_it_was_meant()
    {
        byte[] line = ControlProtocol.Line("echo a b");
        line.Length.Should().BeLessThan(ControlProtocol.MostRequestBytes);
        ControlProtocol.Begin(line.AsSpan(0, line.Length - 1), s_requests, null!, out var reply).Should().BeNull();
        Answer(reply!).GetProperty("words").GetString().Should().Be("a b");
    }

    [Theory]
    [InlineData("", "speaks kvmsharp/1")]
    [InlineData("kvmsharp/2 stats 1000 0", "speaks kvmsharp/1")]
    [InlineData("kvmsharp/1", "none of: stats INTERVAL COUNT, echo A B")]
    [InlineData("kvmsharp/1 stop 1000 0", "none of: stats INTERVAL COUNT, echo A B")]
    [InlineData("kvmsharp/1 stats 49 0", "not: stats INTERVAL COUNT")]
    [InlineData("kvmsharp/1 stats 3600001 0", "not: stats INTERVAL COUNT")]
    [InlineData("kvmsharp/1 stats 1000 -1", "not: stats INTERVAL COUNT")]
    [InlineData("kvmsharp/1 stats 1000 99999999999999999999", "not: stats INTERVAL COUNT")]
    [InlineData("kvmsharp/1 stats 1000 0 0", "not: stats INTERVAL COUNT")]
    public void What_is_no_request_is_told(string line, string problem)
    {
        ControlProtocol.Begin(Encoding.ASCII.GetBytes(line), s_requests, null!, out var reply).Should().Contain(problem);
        reply.Should().BeNull();
    }

    [Fact]
    public void A_request_that_fails_is_answered_by_why()
    {
        using var reply = new ControlAnswer(json =>
        {
            json.WriteString("half", "an answer");
            throw new VmmException(ControlErrors.Refused, "not now");
        });
        var answer = Answer(reply);
        answer.GetProperty("error").GetString().Should().Be("not now");
        answer.GetProperty("id").GetString().Should().Be("KVM0307");
        answer.TryGetProperty("half", out _).Should().BeFalse();
    }

    [Theory]
    [InlineData("web", true)]
    [InlineData("a-b_c.9", true)]
    [InlineData("", false)]
    [InlineData(".", false)]
    [InlineData("..", false)]
    [InlineData("../x", false)]
    [InlineData("a/b", false)]
    [InlineData("a b", false)]
    [InlineData("é", false)]
    public void Only_names_that_are_file_names_have_a_socket(string name, bool has) =>
        (ControlProtocol.PathOf("/run", name) is not null).Should().Be(has);

    [Fact]
    public void Longer_names_have_none() => ControlProtocol.PathOf("/run", new string('a', 65)).Should().BeNull();

    private static JsonElement Answer(ControlReply reply)
    {
        using var rung = new ManualResetEventSlim();
        reply.Attach(rung.Set);
        // It may have been done before there was anybody to ring for.
        while (reply.Due == long.MaxValue && !rung.Wait(1))
        {
        }

        var text = new ArrayBufferWriter<byte>();
        reply.Advance(0, text).Should().BeFalse();
        text.WrittenSpan[^1].Should().Be((byte)'\n');
        return JsonDocument.Parse(text.WrittenMemory).RootElement;
    }

    private sealed class Echo : IControlRequest
    {
        public string Name => "echo";

        public string Form => "echo A B";

        public ControlReply? Begin(ControlTarget target, IReadOnlyList<string> words) =>
            words.Count == 2 ? new ControlAnswer(json => json.WriteString("words", string.Join(' ', words))) : null;
    }
}
