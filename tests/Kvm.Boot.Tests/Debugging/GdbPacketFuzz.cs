using System.Globalization;
using System.Text;
using Kvm.Vmm.Debugging.Gdb;
using static Iced.Intel.AssemblerRegisters;

namespace Kvm.Boot.Tests.Debugging;

/// <summary>Packets chosen by a seed, plausible and spoilt, given to a session with a real machine: each is answered, none ends it.</summary>
internal sealed class GdbPacketFuzz(int seed)
{
    private const int PacketsOfAMachine = 400;

    private static readonly string[] s_words =
    [
        "?", "g", "G", "p", "P", "m", "M", "X", "H", "Hg", "Hc", "T", "Z0,", "Z1,", "Z2,", "Z3,", "Z4,", "z0,", "z2,", "c", "s", "C05", "S05",
        "vCont?", "vCont;", "vCont;c", "vCont;s:1", "vCont;r", "bs", "bc", "qSupported:", "qXfer:features:read:target.xml:", "qfThreadInfo", "qsThreadInfo",
        "qThreadExtraInfo,", "qC", "qRcmd,", "QStartNoAckMode", "D", "vMustReplyEmpty", "0,", "1", ",", ":", ";", "=", "100000", "200000,4",
        "ffffffffffffffff", "7fffffffffffffff", "-1", "0", "00", "70616765", "#", "$", "\u0003", "\u007d", "zz", "18446744073709551616",
    ];

    private readonly Random _random = new(seed);

    /// <summary>One machine's worth of packets. What was sent last is in the exception of a failure.</summary>
    public void Run()
    {
        string packet = "";
        using var guest = new DebuggedMachine("soft", a =>
        {
            var again = a.CreateLabel();
            a.Label(ref again);
            a.inc(__dword_ptr[0x20_0000]);
            a.jmp(again);
        }, config => config with { Cpus = 2 });
        var session = new GdbSession(guest.Debugger, new MonitorCommands(guest.Machine, null), wide: (seed & 1) == 0, () => { }, () => 0);
        try
        {
            for (int n = 0; n < PacketsOfAMachine; n++)
            {
                packet = Packet();
                var answer = session.Handle(Encoding.Latin1.GetBytes(packet));
                if (answer == GdbAnswer.Running)
                {
                    session.Interrupt();
                    session.Wait(TimeSpan.FromSeconds(60)).Should().BeTrue();
                }

                session.Reply.Length.Should().BeInRange(4, (2 * PacketReader.MostBytes) + 64);
                // A guest let go with whatever registers it was given may have ended, or goes on: then it is stopped again.
                if (!guest.Debugger.IsStopped)
                    guest.Debugger.Stop();
            }
        }
        catch (Exception e)
        {
            throw new InvalidOperationException(string.Create(CultureInfo.InvariantCulture, $"seed {seed}, packet {Convert.ToHexString(Encoding.Latin1.GetBytes(packet))}"), e);
        }
    }

    private string Packet()
    {
        var text = new StringBuilder();
        for (int words = _random.Next(1, 6); words > 0; words--)
            text.Append(_random.Next(4) == 0 ? Digits() : s_words[_random.Next(s_words.Length)]);
        if (_random.Next(8) == 0 && text.Length > 1)
            text[_random.Next(text.Length)] = (char)_random.Next(256);
        return text.ToString();
    }

    private string Digits()
    {
        int length = _random.Next(50) == 0 ? 1300 : _random.Next(1, 20);
        return string.Concat(Enumerable.Range(0, length).Select(_ => "0123456789abcdef"[_random.Next(16)]));
    }
}
