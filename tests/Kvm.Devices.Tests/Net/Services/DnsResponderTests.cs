using System.Buffers.Binary;
using Kvm.Devices.Net.Services;
using Kvm.Tests.Support;
using static Kvm.Devices.Tests.Net.Services.Plans;

namespace Kvm.Devices.Tests.Net.Services;

/// <summary>Names of the network are answered, others are left to others.</summary>
public sealed class DnsResponderTests
{
    private readonly DnsResponder _dns = new(Lab);
    private readonly byte[] _answer = new byte[DnsResponder.MostAnswer];

    private (DnsOutcome Outcome, int Code, string Data) Ask(byte[] question)
    {
        var outcome = _dns.Answer(question, _answer, out int length);
        if (outcome != DnsOutcome.Answered)
            return (outcome, -1, "");
        BinaryPrimitives.ReadUInt16BigEndian(_answer).Should().Be(0x1234);
        (_answer[2] & 0x80).Should().Be(0x80);
        int code = _answer[3] & 15, answers = BinaryPrimitives.ReadUInt16BigEndian(_answer.AsSpan(6));
        if (answers == 0)
            return (outcome, code, "");
        int at = question.Length;
        _answer.AsSpan(at, 2).ToArray().Should().Equal([0xc0, 12]);
        byte[] data = _answer[(at + 12)..length];
        BinaryPrimitives.ReadUInt16BigEndian(_answer.AsSpan(at + 10)).Should().Be((ushort)data.Length);
        return (outcome, code, data.Length == 4 ? string.Join('.', data) : System.Text.Encoding.ASCII.GetString([.. data.Select(b => b < 32 ? (byte)'.' : b)]));
    }

    [Theory]
    [InlineData("web", "10.20.0.11")]
    [InlineData("WEB.Lab", "10.20.0.11")]
    [InlineData("printer.lab", "10.20.0.9")]
    [InlineData("shop", "10.20.0.50")]
    public void A_name_of_the_network_has_its_address(string name, string address) => Ask(Dns(name)).Should().Be((DnsOutcome.Answered, 0, address));

    [Fact]
    public void An_address_of_the_network_has_its_name()
    {
        Ask(Dns("11.0.20.10.in-addr.arpa", 12)).Should().Be((DnsOutcome.Answered, 0, ".web.lab."));
        Ask(Dns("77.0.20.10.in-addr.arpa", 12)).Should().Be((DnsOutcome.Answered, 3, ""), "who else should know it");
        Ask(Dns("1.2.0.192.in-addr.arpa", 12)).Outcome.Should().Be(DnsOutcome.NotOurs);
        Ask(Dns("x.20.10.in-addr.arpa", 12)).Outcome.Should().Be(DnsOutcome.NotOurs);
    }

    [Fact]
    public void What_there_is_not_of_a_name_that_there_is_is_nothing_and_a_name_that_there_is_not_is_none()
    {
        Ask(Dns("web.lab", 28)).Should().Be((DnsOutcome.Answered, 0, ""));
        Ask(Dns("nobody.lab")).Should().Be((DnsOutcome.Answered, 3, ""));
        Ask(Dns("nobody")).Should().Be((DnsOutcome.Answered, 3, ""));
        Ask(Dns("www.example.org")).Outcome.Should().Be(DnsOutcome.NotOurs);
        Ask(Dns("web.lab.example.org")).Outcome.Should().Be(DnsOutcome.NotOurs);
        Ask(Dns("web", kind: 3)).Outcome.Should().Be(DnsOutcome.NotOurs);
        DnsResponder.Refuse(Dns("www.example.org"), _answer).Should().Be(12);
        (_answer[3] & 15).Should().Be(5);
    }

    [Fact]
    public void A_question_that_is_none_is_refused_or_not_answered()
    {
        byte[] good = Dns("web");
        byte[] Bad(int at, byte value) => [.. good[..at], value, .. good[(at + 1)..]];
        Ask([]).Outcome.Should().Be(DnsOutcome.Dropped);
        Ask(good[..11]).Outcome.Should().Be(DnsOutcome.Dropped);
        Ask(Bad(2, 0x81)).Outcome.Should().Be(DnsOutcome.Dropped, "it is an answer");
        Ask(new byte[DnsResponder.MostBytes + 1]).Outcome.Should().Be(DnsOutcome.Dropped);
        Ask(Bad(2, 0x29)).Code.Should().Be(4, "an update");
        foreach (byte[] question in (byte[][])[good[..12], good[..14], good[..^1], Bad(5, 0), Bad(5, 2), Bad(12, 0xc0), Bad(12, 64), Bad(12, 200),
            [.. good[..12], .. Enumerable.Repeat((byte[])[63, .. new byte[63]], 5).SelectMany(b => b), 0, 0, 1, 0, 1]])
            Ask(question).Should().Be((DnsOutcome.Answered, 1, ""), Convert.ToHexString(question));
        Ask(Dns("web\0x.lab")).Code.Should().Be(3);
        _dns.Malformed.Should().Be(4);
    }

    [Fact]
    public void Nothing_is_allocated_for_a_question()
    {
        byte[][] questions = [Dns("web"), Dns("11.0.20.10.in-addr.arpa", 12), Dns("nobody.lab"), Dns("www.example.org")];
        Allocation.Of(i => _dns.Answer(questions[i % questions.Length], _answer, out _)).Should().Be(0);
    }
}
