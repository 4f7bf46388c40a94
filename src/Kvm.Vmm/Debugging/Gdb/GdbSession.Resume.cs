using Kvm.X86.State;

namespace Kvm.Vmm.Debugging.Gdb;

/// <summary>How the guest goes on, and stops.</summary>
internal sealed partial class GdbSession
{
    private VcpuResume[] _orders = [];
    private (int Vcpu, ulong Start, ulong End)? _range;
    private volatile bool _interrupted;
    private char? _backwards;

    /// <summary>Ctrl-C: has a running guest stop; any thread.</summary>
    public void Interrupt()
    {
        _interrupted = true;
        _debugger.RequestStop();
    }

    /// <summary><c>c</c>, <c>s</c> and their forms with a signal, which means nothing to a machine.</summary>
    private GdbAnswer ResumeOld(char command, ReadOnlySpan<byte> rest)
    {
        if (command is 'C' or 'S')
        {
            Hex.TryNumber(ref rest, out _);
            Hex.TrySkip(ref rest, ';');
        }

        if (Hex.TryNumber(ref rest, out ulong address))
        {
            _debugger.ReadState(_general, _state);
            _state.Rip = address;
            _debugger.WriteState(_general, _state);
        }

        bool step = command is 's' or 'S';
        _orders = new VcpuResume[_debugger.Vcpus];
        Array.Fill(_orders, step ? VcpuResume.Stay : VcpuResume.Run);
        if (step)
            _orders[_resumed >= 0 ? _resumed : _general] = VcpuResume.Step;
        _range = null;
        return Resume();
    }

    /// <summary><c>vCont</c>'s actions: the first that fits a vCPU is its own.</summary>
    private GdbAnswer ResumeEach(ReadOnlySpan<byte> actions)
    {
        _orders = new VcpuResume[_debugger.Vcpus];
        _range = null;
        var ordered = new bool[_debugger.Vcpus];
        while (!actions.IsEmpty)
        {
            int end = actions.IndexOf((byte)';');
            var action = end < 0 ? actions : actions[..end];
            actions = end < 0 ? default : actions[(end + 1)..];
            if (!TryAction(action, out var order, out int vcpu, out var range))
                return Answer(BadRequest);
            for (int n = 0; n < ordered.Length; n++)
            {
                if (ordered[n] || (vcpu >= 0 && vcpu != n))
                    continue;
                (ordered[n], _orders[n]) = (true, order);
                if (range is { } within)
                    _range ??= (n, within.Start, within.End);
            }
        }

        return Resume();
    }

    private bool TryAction(ReadOnlySpan<byte> action, out VcpuResume order, out int vcpu, out (ulong Start, ulong End)? range)
    {
        (order, vcpu, range) = (VcpuResume.Run, -1, null);
        if (action.IsEmpty)
            return false;
        char what = (char)action[0];
        action = action[1..];
        switch (what)
        {
            case 'c':
                break;
            case 's':
                order = VcpuResume.Step;
                break;
            case 'C' or 'S':
                order = what == 'S' ? VcpuResume.Step : VcpuResume.Run;
                if (!Hex.TryNumber(ref action, out _))
                    return false;
                break;
            case 'r':
                order = VcpuResume.Step;
                if (!Hex.TryNumber(ref action, out ulong start) || !Hex.TrySkip(ref action, ',') || !Hex.TryNumber(ref action, out ulong end))
                    return false;
                range = (start, end);
                break;
            default:
                return false;
        }

        return action.IsEmpty || (Hex.TrySkip(ref action, ':') && TryThread(ref action, out vcpu));
    }

    private GdbAnswer Resume()
    {
        _interrupted = false;
        if (_debugger.Resume(_orders) is { } refusal)
        {
            if (_stop.Reason == DebugStopReason.Ended || !_debugger.TryWait(TimeSpan.Zero, out var stop) || stop.Reason != DebugStopReason.Ended)
            {
                _monitor.Notice(refusal);
                return Refuse(refusal);
            }

            _stop = stop;
            return StopReply();
        }

        return GdbAnswer.Running;
    }

    /// <summary><c>bs</c> and <c>bc</c>.</summary>
    private GdbAnswer ResumeBackwards(ReadOnlySpan<byte> rest)
    {
        if (!_debugger.CanGoBack || rest.Length != 1 || rest[0] is not ((byte)'s' or (byte)'c'))
            return GdbAnswer.Reply;
        _interrupted = false;
        _range = null;
        _backwards = (char)rest[0];
        return GdbAnswer.Running;
    }

    /// <summary>Goes back, if that was asked for, where there is time for it: a run of many instructions may be made again.</summary>
    private bool TryGoBack(TimeSpan patience, out DebugStop stop)
    {
        stop = default;
        if (_backwards is not { } how || patience != Timeout.InfiniteTimeSpan)
            return false;
        _backwards = null;
        stop = how == 's' ? _debugger.StepBack() : _debugger.ContinueBack();
        return true;
    }

    /// <summary>Waits for the machine to stop; a step inside gdb's range is followed by the next one.</summary>
    private bool TryWaitForStop(TimeSpan patience, out DebugStop stop)
    {
        stop = default;
        while (_backwards is null && _debugger.TryWait(patience, out stop))
        {
            if (stop.Reason != DebugStopReason.Step || _range is not { } range || stop.Vcpu != range.Vcpu || _interrupted)
                return true;
            _debugger.ReadState(range.Vcpu, _state);
            ulong at = GdbRegisters.ProgramCounter(_state);
            if (_debugger.FindBreakpoint(at) is { } point)
                stop = new DebugStop(DebugStopReason.Breakpoint, range.Vcpu, point);
            if (stop.Reason != DebugStopReason.Step || at < range.Start || at >= range.End || _debugger.Resume(_orders) is not null)
                return true;
        }

        return false;
    }
}
