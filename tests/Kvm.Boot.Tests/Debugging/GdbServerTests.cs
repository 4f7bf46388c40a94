using System.Net.Sockets;
using System.Text;
using Iced.Intel;
using Kvm.Vmm;
using Kvm.Vmm.Debugging;
using Kvm.Vmm.Debugging.Gdb;
using Kvm.Vmm.Reporting;
using static Iced.Intel.AssemblerRegisters;

namespace Kvm.Boot.Tests.Debugging;

/// <summary>The stub's conversation over a socket, also with debuggers that do not keep to it.</summary>
public sealed class GdbServerTests : IDisposable
{
    private const uint Data = 0x20_0000;
    private readonly DebuggedMachine _guest;
    private readonly List<string> _notices = [];
    private GdbServer? _server;

    public GdbServerTests() => _guest = new DebuggedMachine("soft", Program, config => config with { Cpus = 2 });

    [Fact]
    public void Registers_memory_and_threads_are_told()
    {
        using var gdb = Connect();
        gdb.Ask("qSupported:multiprocess+;swbreak+;hwbreak+").Should().Contain("qXfer:features:read+").And.Contain("QStartNoAckMode+");
        gdb.Ask("?").Should().Be("T02thread:1;");
        gdb.Ask("qfThreadInfo").Should().Be("m1,2");
        gdb.Ask("qsThreadInfo").Should().Be("l");
        Text(gdb.Ask("qThreadExtraInfo,2")).Should().Be("vcpu1 [waits to be started]");
        gdb.Ask("p10").Should().Be("0000100000000000", "RIP, the seventeenth register");
        gdb.Ask("m100000,5").Should().Be("b811000000");
        gdb.Ask("g").Should().HaveLength(2 * new GdbRegisters(wide: true).All.Sum(r => r.Bytes));
        gdb.Ask("P0=7700000000000000").Should().Be("OK");
        gdb.Ask("p0").Should().Be("7700000000000000");
        gdb.Ask("M200000,2:abcd").Should().Be("OK");
        gdb.Ask("m200000,2").Should().Be("abcd");
        gdb.Ask("Hg2").Should().Be("OK");
        gdb.Ask("qC").Should().Be("QC2");
        gdb.Ask("Hg3").Should().Be("E22", "there is no third");
        gdb.Ask("T2").Should().Be("OK");
        gdb.Ask("vMustReplyEmpty").Should().BeEmpty();
        gdb.Ask("qXfer:features:read:target.xml:0,20").Should().StartWith("m<?xml");
    }

    [Theory]
    [InlineData("mf0000000,4", "E14")]
    [InlineData("mfffffffff0000000,4", "E14")]
    [InlineData("Mf0000000,1:00", "E14")]
    [InlineData("m100000", "E22")]
    [InlineData("mzz,4", "E22")]
    [InlineData("M100000,2:0", "E22")]
    [InlineData("p999", "E22")]
    [InlineData("P0=77", "E22")]
    [InlineData("G00", "E22")]
    [InlineData("Z9,100000,1", "E22")]
    [InlineData("Z0,100000", "E22")]
    [InlineData("vCont;x", "E22")]
    [InlineData("vCont;s:9", "E22")]
    [InlineData("Hgzz", "E22")]
    [InlineData("qXfer:features:read:target.xml:zz", "E22")]
    [InlineData("qXfer:auxv:read::0,10", "E00")]
    [InlineData("unknown", "")]
    public void What_cannot_be_done_is_an_error_and_nothing_worse(string packet, string reply)
    {
        using var gdb = Connect();
        gdb.Ask(packet).Should().Be(reply);
        gdb.Ask("qAttached").Should().Be("1");
    }

    [Fact]
    public void Breakpoints_watchpoints_and_steps_stop_with_their_reasons()
    {
        using var gdb = Connect();
        gdb.Ask("qSupported:swbreak+;hwbreak+");
        gdb.Ask("Z0,100005,1").Should().Be("OK");
        gdb.Ask("vCont;c").Should().Be("T05thread:1;swbreak:;");
        gdb.Ask("z0,100005,1").Should().Be("OK");
        gdb.Ask("Z1,100006,1").Should().Be("OK");
        gdb.Ask("vCont;s:1;c").Should().Be("T05thread:1;");
        gdb.Ask("c").Should().Be("T05thread:1;hwbreak:;");
        gdb.Ask("z1,100006,1").Should().Be("OK");
        gdb.Ask("Z2,200000,4").Should().Be("OK");
        gdb.Ask("c").Should().Be("T05thread:1;watch:200000;");
        gdb.Ask("m200000,4").Should().Be("12000000");
        gdb.Ask("z2,200000,4").Should().Be("OK");
        gdb.Ask("Z4,200000,4").Should().Be("OK");
        gdb.Ask("c").Should().Be("T05thread:1;awatch:200000;");
        gdb.Ask("D").Should().Be("OK");
    }

    [Fact]
    public void A_range_is_stepped_through_without_asking()
    {
        using var gdb = Connect();
        gdb.Ask("vCont;r100000,100006:1").Should().Be("T05thread:1;");
        gdb.Ask("p10").Should().Be("0600100000000000");
    }

    [Fact]
    public void Ctrl_C_stops_a_guest_that_runs_and_detaching_lets_it_go()
    {
        using var gdb = Connect();
        gdb.Send("c");
        gdb.Next().Should().Be("+");
        gdb.Raw([3]);
        gdb.Reply().Should().StartWith("T02");
        gdb.Ask("P3=0100000000000000").Should().Be("OK", "RDX ends the loop");
        gdb.Ask("D").Should().Be("OK");
        Ended().DebugExitValue.Should().Be(9);
    }

    [Fact]
    public void The_end_of_the_guest_is_told_with_its_exit_code()
    {
        using var gdb = Connect();
        gdb.Ask("P3=0100000000000000").Should().Be("OK");
        gdb.Ask("vCont;c").Should().Be("W1d", "29: 20 and the 9 it wrote to the debug-exit port");
        Ended();
        gdb.Ask("g").Should().NotBeNull();
    }

    [Fact]
    public void Kill_ends_the_guest()
    {
        using var gdb = Connect();
        gdb.Send("k");
        Ended().Outcome.Should().Be(VmOutcome.StoppedByUser);
    }

    [Fact]
    public void A_wrong_checksum_is_refused_and_the_packet_asked_for_again()
    {
        using var gdb = Connect();
        gdb.Raw("$?#00"u8);
        gdb.Next().Should().Be("-");
        gdb.Ask("?").Should().StartWith("T02");
        gdb.Raw("-"u8);
        gdb.Reply().Should().StartWith("T02", "our packet was asked for again");
    }

    [Fact]
    public void A_packet_beyond_a_megabyte_is_refused_and_the_next_one_answered()
    {
        using var gdb = Connect();
        gdb.Send(new string('a', PacketReader.MostBytes + 1));
        gdb.Next().Should().Be("-");
        gdb.Ask("m100000," + new string('0', 2)).Should().BeEmpty();
        gdb.Ask("QStartNoAckMode").Should().Be("OK");
        gdb.Send("qC");
        gdb.Next().Should().Be("$QC1");
    }

    [Fact]
    public void A_second_debugger_is_sent_away_and_may_come_when_the_first_has_gone()
    {
        using var first = Connect();
        first.Ask("qC").Should().Be("QC1");
        using (var second = Connect())
            second.Next().Should().BeEmpty("it is hung up on");
        first.Ask("qC").Should().Be("QC1");
        lock (_notices)
            _notices.Should().ContainMatch("*second*");
    }

    [Fact]
    public void A_debugger_that_vanishes_leaves_no_breakpoint_and_a_guest_that_runs()
    {
        using (var gdb = Connect())
        {
            gdb.Ask("Z0,100005,1").Should().Be("OK");
            gdb.Ask("P3=0100000000000000").Should().Be("OK");
        }

        Ended().DebugExitValue.Should().Be(9);
    }

    [Fact]
    public void A_debugger_that_vanishes_while_the_guest_runs_leaves_it_running()
    {
        using (var gdb = Connect())
        {
            gdb.Send("c");
            gdb.Next().Should().Be("+");
        }

        // The next one can come once the first has been cleared away.
        string reply;
        do
        {
            using var next = Connect();
            reply = Try(next);
            if (reply.Length > 0)
                next.Ask("P3=0100000000000000").Should().Be("OK");
        }
        while (reply.Length == 0);
        Ended().DebugExitValue.Should().Be(9);

        static string Try(GdbClient gdb)
        {
            try
            {
                gdb.Send("?");
                return gdb.Next() == "+" ? gdb.Reply() : "";
            }
            catch (SocketException)
            {
                return "";
            }
        }
    }

    [Theory]
    [InlineData("help", "pagetables")]
    [InlineData("exits", "instructions")]
    [InlineData("lapic", "LVT timer")]
    [InlineData("devices", "serial0")]
    [InlineData("pagetables 100000", "guest-physical 100000")]
    [InlineData("pagetables zz", "no hexadecimal")]
    [InlineData("nonsense\u001b[1m", "no such command: nonsense??1m")]
    public void Monitor_commands_answer_in_text(string command, string answer)
    {
        using var gdb = Connect();
        Text(gdb.Ask("qRcmd," + Convert.ToHexString(Encoding.UTF8.GetBytes(command)))).Should().Contain(answer);
    }

    [Fact]
    public void Physical_memory_is_read_when_asked_for()
    {
        using var gdb = Connect();
        gdb.Ask("qRcmd," + Convert.ToHexString("physical on"u8)).Should().NotBeEmpty();
        gdb.Ask("m100000,1").Should().Be("b8");
        gdb.Ask("mffffffff0,1").Should().Be("E14");
    }

    [Fact]
    public void A_Unix_socket_is_its_owners_alone_and_goes_with_the_server()
    {
        string path = Path.Combine(Path.GetTempPath(), $"kvmsharp-gdb-{Guid.NewGuid():n}");
        using (var server = new GdbServer(_guest.Machine, new GdbEndpoint(0, path), null))
        {
            File.GetUnixFileMode(path).Should().Be(UnixFileMode.UserRead | UnixFileMode.UserWrite);
            using var gdb = new GdbClient(server);
            gdb.Ask("qC").Should().Be("QC1");
            Action again = () => new GdbServer(_guest.Machine, new GdbEndpoint(0, path), null).Dispose();
            again.Should().Throw<VmmException>().Which.Error.Should().Be(DebuggingErrors.NoListener);
        }

        File.Exists(path).Should().BeFalse();
    }

    public void Dispose()
    {
        _server?.Dispose();
        _guest.Dispose();
    }

    /// <summary>Writes to <see cref="Data"/>, then turns until EDX is set.</summary>
    private static void Program(Assembler a)
    {
        var again = a.CreateLabel();
        a.mov(eax, 0x11); // at 0
        a.inc(eax); // at 5
        a.mov(__dword_ptr[Data], eax); // at 6
        a.Label(ref again);
        a.mov(ecx, __dword_ptr[Data]);
        a.test(edx, edx);
        a.je(again);
        a.DebugExit(9);
    }

    private GdbClient Connect()
    {
        _server ??= new GdbServer(_guest.Machine, new GdbEndpoint(0, null), text =>
        {
            lock (_notices)
                _notices.Add(text);
        });
        return new GdbClient(_server);
    }

    private RunResult Ended()
    {
        _guest.Machine.Ended.Wait(TimeSpan.FromSeconds(60)).Should().BeTrue();
        return _guest.Machine.Ended.Result;
    }

    private static string Text(string hex) => Encoding.UTF8.GetString(Convert.FromHexString(hex));
}
