using Kvm.X86.State;

namespace Kvm.Vmm.Debugging.Gdb;

/// <summary>What gdb asks and agrees on.</summary>
internal sealed partial class GdbSession
{
    private int _listed;

    private GdbAnswer Query(ReadOnlySpan<byte> rest)
    {
        if (rest.StartsWith("Supported"u8))
            return Supported(rest);
        if (rest.StartsWith("Xfer:features:read:target.xml:"u8))
            return Transfer(rest["Xfer:features:read:target.xml:".Length..], _description);
        if (rest.StartsWith("Xfer:"u8))
            return Answer("E00"); // an annex that is not there
        if (rest.StartsWith("ThreadExtraInfo,"u8))
            return DescribeThread(rest[16..]);
        if (rest.StartsWith("Rcmd,"u8))
            return Monitor(rest[5..]);
        if (rest.SequenceEqual("fThreadInfo"u8))
        {
            _listed = 0;
            return ListThreads();
        }

        if (rest.SequenceEqual("sThreadInfo"u8))
            return ListThreads();
        if (rest.SequenceEqual("C"u8))
        {
            _reply.Text("QC").Number((ulong)_general + 1);
            return GdbAnswer.Reply;
        }

        if (rest.SequenceEqual("Attached"u8))
            return Answer("1"); // quitting gdb detaches
        return rest.SequenceEqual("Symbol::"u8) ? Answer("OK") : GdbAnswer.Reply;
    }

    private GdbAnswer Set(ReadOnlySpan<byte> rest)
    {
        if (!rest.SequenceEqual("StartNoAckMode"u8))
            return GdbAnswer.Reply;
        NoAcks = true;
        return Answer("OK");
    }

    private GdbAnswer Supported(ReadOnlySpan<byte> rest)
    {
        _reportsSwBreak = rest.IndexOf("swbreak+"u8) >= 0;
        _reportsHwBreak = rest.IndexOf("hwbreak+"u8) >= 0;
        _reply.Text("PacketSize=").Number(PacketReader.MostBytes - 1).Text(";qXfer:features:read+;QStartNoAckMode+;vContSupported+;swbreak+;hwbreak+");
        if (_debugger.CanGoBack)
            _reply.Text(";ReverseStep+;ReverseContinue+");
        return GdbAnswer.Reply;
    }

    /// <summary>A part of a document: <c>offset,length</c>.</summary>
    private GdbAnswer Transfer(ReadOnlySpan<byte> rest, byte[] document)
    {
        if (!Hex.TryNumber(ref rest, out ulong offset) || !Hex.TrySkip(ref rest, ',') || !Hex.TryNumber(ref rest, out ulong length))
            return Answer(BadRequest);
        if (offset >= (ulong)document.Length)
            return Answer("l");
        var part = document.AsSpan((int)offset);
        int count = (int)Math.Min(length, (ulong)part.Length);
        _reply.Text(count == part.Length ? "l" : "m").Binary(part[..count]);
        return GdbAnswer.Reply;
    }

    private GdbAnswer ListThreads()
    {
        const int most = 64;
        if (_listed >= _debugger.Vcpus)
            return Answer("l");
        _reply.Text("m");
        for (int n = 0; n < most && _listed < _debugger.Vcpus; n++)
            _reply.Text(n == 0 ? "" : ",").Number((ulong)++_listed);
        return GdbAnswer.Reply;
    }

    private GdbAnswer DescribeThread(ReadOnlySpan<byte> rest)
    {
        if (!TryThread(ref rest, out int vcpu) || vcpu < 0)
            return Answer(BadRequest);
        _debugger.ReadState(vcpu, _state);
        string what = _state.Activity switch
        {
            ActivityState.Halted => "halted",
            ActivityState.WaitForSipi => "waits to be started",
            ActivityState.Shutdown => "shut down",
            _ => "running",
        };
        _reply.HexText($"vcpu{vcpu} [{what}]");
        return GdbAnswer.Reply;
    }

    private GdbAnswer Monitor(ReadOnlySpan<byte> rest)
    {
        _reply.HexText(_monitor.Run(_general, TextOf(rest)));
        return GdbAnswer.Reply;
    }
}
