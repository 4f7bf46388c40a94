using System.Text;
using Kvm.Interop;
using Kvm.X86.Engine;

namespace Kvm.Vmm.Debugging.Gdb;

/// <summary>What becomes of a request.</summary>
internal enum GdbAnswer
{
    /// <summary>The reply is to be sent.</summary>
    Reply,

    /// <summary>The guest runs; <see cref="GdbSession.Wait"/> gives the reply.</summary>
    Running,

    /// <summary>The reply is to be sent, and the debugger goes.</summary>
    Detached,

    /// <summary>The debugger goes and takes the guest with it, without a reply.</summary>
    Killed,
}

/// <summary>
/// One debugger's conversation with one machine: takes packets' contents and gives replies ("Debugging with GDB", E.2). No socket in sight.
/// </summary>
/// <remarks>One thread at a time; <see cref="Interrupt"/> is for any.</remarks>
internal sealed partial class GdbSession
{
    private const string NoSuchAddress = "E14", BadRequest = "E22";

    /// <summary>Bytes of memory a request may be about: a packet of <see cref="PacketReader.MostBytes"/> holds as many.</summary>
    private const int MostMemory = PacketReader.MostBytes / 2;

    private readonly MachineDebugger _debugger;
    private readonly MonitorCommands _monitor;
    private readonly Action _kill;
    private readonly Func<int> _exitCode;
    private readonly GdbRegisters _registers;
    private readonly byte[] _description;
    private readonly PacketWriter _reply = new();
    private byte[] _memory = new byte[4096];
    private int _general;
    private int _resumed;
    private DebugStop _stop = new(DebugStopReason.Requested);
    private bool _reportsSwBreak;
    private bool _reportsHwBreak;

    /// <summary>Begins with a machine that stands still.</summary>
    /// <param name="debugger">The machine's debugger.</param>
    /// <param name="monitor">What <c>monitor</c> does.</param>
    /// <param name="wide">Whether gdb is told of an x86-64's registers, or of a 32-bit processor's.</param>
    /// <param name="kill">Ends the guest.</param>
    /// <param name="exitCode">How the guest ended, once it has.</param>
    public GdbSession(MachineDebugger debugger, MonitorCommands monitor, bool wide, Action kill, Func<int> exitCode)
    {
        _debugger = debugger;
        _monitor = monitor;
        _kill = kill;
        _exitCode = exitCode;
        _registers = new GdbRegisters(wide);
        _description = TargetDescription.Write(_registers);
    }

    /// <summary>The reply to the last request, framed; until the next one.</summary>
    public ReadOnlyMemory<byte> Reply => _reply.Frame();

    /// <summary>Whether the debugger does without acknowledgements from now on.</summary>
    public bool NoAcks { get; private set; }

    /// <summary>Handles one packet.</summary>
    public GdbAnswer Handle(ReadOnlySpan<byte> packet)
    {
        _reply.Begin();
        try
        {
            return packet.IsEmpty ? GdbAnswer.Reply : Dispatch(packet[0], packet[1..]);
        }
        catch (InvalidOperationException)
        {
            // The guest ended between two requests: there is nothing to look at any more.
            return Answer("E03");
        }
        catch (KvmException)
        {
            return Answer(BadRequest); // KVM refused registers that no processor can have
        }
    }

    /// <summary>After <see cref="GdbAnswer.Running"/>: waits for the stop and makes the reply of it. False if that takes longer than <paramref name="patience"/>.</summary>
    public bool Wait(TimeSpan patience)
    {
        if (!TryGoBack(patience, out var stop) && !TryWaitForStop(patience, out stop))
            return false;
        _stop = stop;
        if (stop.Reason is DebugStopReason.Step or DebugStopReason.Breakpoint or DebugStopReason.Watchpoint or DebugStopReason.Fault or DebugStopReason.HistoryEnd)
            _general = _resumed = stop.Vcpu;
        _reply.Begin();
        WriteStop();
        return true;
    }

    /// <summary>The debugger has gone without a word: its points go with it, and the guest goes on.</summary>
    public void Abandon()
    {
        try
        {
            if (!_debugger.IsStopped)
                _debugger.Stop();
            _debugger.Clear();
            _debugger.Continue();
        }
        catch (InvalidOperationException)
        {
            // It ended meanwhile.
        }
    }

    private GdbAnswer Dispatch(byte command, ReadOnlySpan<byte> rest) => (char)command switch
    {
        '?' => StopReply(),
        'g' => ReadRegisters(),
        'G' => WriteRegisters(rest),
        'p' => ReadRegister(rest),
        'P' => WriteRegister(rest),
        'm' => ReadMemory(rest),
        'M' => WriteMemory(rest, binary: false),
        'X' => WriteMemory(rest, binary: true),
        'H' => ChooseThread(rest),
        'T' => TryThread(ref rest, out _) ? Answer("OK") : Answer(BadRequest),
        'Z' => ChangePoint(rest, add: true),
        'z' => ChangePoint(rest, add: false),
        'c' or 'C' or 's' or 'S' => ResumeOld((char)command, rest),
        'b' => ResumeBackwards(rest),
        'v' => Verbose(rest),
        'q' => Query(rest),
        'Q' => Set(rest),
        'D' => Detach(),
        'k' => Kill(GdbAnswer.Killed),
        _ => GdbAnswer.Reply, // an empty reply: not known
    };

    private GdbAnswer Answer(string text)
    {
        _reply.Text(text);
        return GdbAnswer.Reply;
    }

    /// <summary>An error with a reason, which gdb shows where it can.</summary>
    private GdbAnswer Refuse(string why) => Answer("E." + why);

    private GdbAnswer StopReply()
    {
        WriteStop();
        return GdbAnswer.Reply;
    }

    private GdbAnswer Detach()
    {
        _debugger.Clear();
        _debugger.Continue();
        _reply.Text("OK");
        return GdbAnswer.Detached;
    }

    private GdbAnswer Kill(GdbAnswer answer)
    {
        _kill();
        return answer;
    }

    private GdbAnswer Verbose(ReadOnlySpan<byte> rest)
    {
        if (rest.SequenceEqual("Cont?"u8))
            return Answer("vCont;c;C;s;S;r");
        if (rest.StartsWith("Cont;"u8))
            return ResumeEach(rest[5..]);
        if (rest.StartsWith("Kill"u8))
        {
            _reply.Text("OK");
            return Kill(GdbAnswer.Detached);
        }

        return GdbAnswer.Reply;
    }

    /// <summary>A thread's number: 1 and up; 0 is any, −1 all.</summary>
    private bool TryThread(ref ReadOnlySpan<byte> text, out int vcpu)
    {
        vcpu = -1;
        if (Hex.TrySkip(ref text, '-'))
            return Hex.TrySkip(ref text, '1');
        if (!Hex.TryNumber(ref text, out ulong number))
            return false;
        vcpu = number == 0 ? _general : (int)Math.Min(number - 1, int.MaxValue);
        return vcpu < _debugger.Vcpus;
    }

    private GdbAnswer ChooseThread(ReadOnlySpan<byte> rest)
    {
        if (rest.IsEmpty)
            return Answer(BadRequest);
        char what = (char)rest[0];
        rest = rest[1..];
        if (!TryThread(ref rest, out int vcpu))
            return Answer(BadRequest);
        if (what == 'g')
            _general = Math.Max(vcpu, 0);
        else
            _resumed = vcpu;
        return Answer("OK");
    }

    private GdbAnswer ChangePoint(ReadOnlySpan<byte> rest, bool add)
    {
        if (!Hex.TryNumber(ref rest, out ulong type) || !Hex.TrySkip(ref rest, ',') || !Hex.TryNumber(ref rest, out ulong address)
            || !Hex.TrySkip(ref rest, ',') || !Hex.TryNumber(ref rest, out ulong length) || type > 4 || length > DebugPoint.MostBytes)
        {
            return Answer(BadRequest);
        }

        var point = type switch
        {
            0 or 1 => new DebugPoint(DebugPointKind.Execute, address),
            2 => new DebugPoint(DebugPointKind.Write, address, (uint)Math.Max(length, 1)),
            3 => new DebugPoint(DebugPointKind.Read, address, (uint)Math.Max(length, 1)),
            _ => new DebugPoint(DebugPointKind.Access, address, (uint)Math.Max(length, 1)),
        };
        var kinds = type == 0 ? _software : _hardware;
        if (add)
        {
            if (_debugger.Points.Count >= MostPoints)
                return Refuse($"there are {MostPoints} breakpoints and watchpoints already");
            if (_debugger.Add(point) is { } refusal)
            {
                _monitor.Notice(refusal);
                return Refuse(refusal);
            }

            kinds.Add(address);
            return Answer("OK");
        }

        kinds.Remove(address);
        // A software and a hardware breakpoint at one address are one point here.
        if (type > 1 || !(_software.Contains(address) || _hardware.Contains(address)))
            _debugger.Remove(point);
        return Answer("OK");
    }

    /// <summary>Bounds what a debugger makes us keep and compare.</summary>
    private const int MostPoints = 1024;

    private readonly HashSet<ulong> _software = [];
    private readonly HashSet<ulong> _hardware = [];

    private void WriteStop()
    {
        if (_stop.Reason == DebugStopReason.Ended)
        {
            _reply.Text("W").Bytes([(byte)_exitCode()]);
            return;
        }

        _reply.Text(_stop.Reason switch { DebugStopReason.Requested => "T02", DebugStopReason.Fault => "T0b", _ => "T05" }).Text("thread:").Number((ulong)_stop.Vcpu + 1).Text(";");
        switch (_stop.Reason)
        {
            case DebugStopReason.Breakpoint when _reportsSwBreak && _software.Contains(_stop.Point.Address):
                _reply.Text("swbreak:;");
                break;
            case DebugStopReason.Breakpoint when _reportsHwBreak && _hardware.Contains(_stop.Point.Address):
                _reply.Text("hwbreak:;");
                break;
            case DebugStopReason.HistoryEnd:
                _reply.Text("replaylog:begin;");
                break;
            case DebugStopReason.Watchpoint:
                _reply.Text(_stop.Point.Kind switch { DebugPointKind.Read => "rwatch:", DebugPointKind.Access => "awatch:", _ => "watch:" })
                    .Number(_stop.Point.Address).Text(";");
                break;
        }
    }

    private static string TextOf(ReadOnlySpan<byte> hex)
    {
        byte[] bytes = new byte[hex.Length / 2];
        return Hex.TryBytes(hex, bytes) ? Encoding.UTF8.GetString(bytes) : "";
    }
}
