using Kvm.Interop;
using Kvm.Vmm.Probing;
using Kvm.Vmm.Snapshots;

namespace Kvm.Vmm.Vcpu;

/// <summary>
/// A KVM machine's time, stopped and let go on: kvmclock by KVM_SET_CLOCK, each vCPU's TSC by its offset to the host's (KVM_VCPU_TSC_OFFSET), timers
/// armed again. Where that does nothing (<see cref="TimeProber"/>) the TSC is written back, which KVM takes for an attempt to synchronize it if little time has passed
/// (api.rst, KVM_SET_MSRS): then it jumps.
/// </summary>
/// <remarks>While no vCPU is in KVM_RUN.</remarks>
internal sealed class KvmGuestTime
{
    private const uint Tsc = 0x10, TscDeadline = 0x6e0;
    private const byte RateGenerator = 2, SquareWave = 3;

    private readonly KvmSystem _system;
    private readonly KvmVm _vm;
    private readonly IReadOnlyList<KvmVcpu> _vcpus;
    private readonly bool _hasClock;
    private ulong[] _tsc = [];
    private ulong[] _deadlines = [];
    private ulong _clock;
    private KvmPitState2 _pit;

    public KvmGuestTime(KvmSystem system, KvmVm vm, IReadOnlyList<KvmVcpu> vcpus)
    {
        (_system, _vm, _vcpus) = (system, vm, vcpus);
        _hasClock = system.CheckExtension(KvmCap.KVM_CAP_ADJUST_CLOCK) != 0;
    }

    /// <summary>Whether guest time really stands still between <see cref="Stop"/> and <see cref="Resume"/>.</summary>
    public bool Stops => _hasClock && CounterMoves;

    private bool CounterMoves => TimeProber.CounterMoves(_system);

    /// <summary>Where kvmclock stopped.</summary>
    public ulong Clock => _clock;

    /// <summary>
    /// Where a vCPU's time stamp counter and its timer stopped. By the first one's and their offsets, where they have such: two that are read one after the other are
    /// not of one moment.
    /// </summary>
    public (ulong Tsc, ulong Deadline) At(int vcpu) =>
        (CounterMoves ? _tsc[0] + (_vcpus[vcpu].GetTscOffset() - _vcpus[0].GetTscOffset()) : _tsc[vcpu], _deadlines[vcpu]);

    /// <summary>Goes on from another time than the present one.</summary>
    /// <param name="board">The time, and each processor's.</param>
    /// <param name="report">Told where the counter cannot go on from there.</param>
    public void Set(BoardState board, RestoreReport report)
    {
        _clock = board.GuestTime;
        for (int i = 0; i < _vcpus.Count; i++)
        {
            ulong wanted = board.Processors[i].Registers.Msr.Tsc, apart = wanted - board.Processors[0].Registers.Msr.Tsc;
            if (CounterMoves)
                _vcpus[i].SetTscOffset(_vcpus[0].GetTscOffset() + apart);
            else if (_vcpus[i].TryGetMsr(Tsc, out ulong now) && now < wanted)
                report.Differs($"a time stamp counter that goes on from {wanted}: this KVM's is at {now} and is not moved");
            _deadlines[i] = board.Processors[i].TscDeadline;
            _tsc[i] = wanted;
        }

        _pit = _vm.GetPit2();
    }

    /// <summary>Notes where time is.</summary>
    public void Stop()
    {
        _tsc = Read(Tsc);
        _deadlines = Read(TscDeadline);
        _clock = _hasClock ? _vm.GetClock().Clock : 0;
        _pit = _vm.GetPit2();
    }

    /// <summary>Puts time back to where it was noted.</summary>
    public void Resume()
    {
        if (_hasClock)
            _vm.SetClock(new KvmClockData { Clock = _clock });
        if (CounterMoves)
        {
            _vcpus[0].TryGetMsr(Tsc, out ulong now);
            ulong passed = now - _tsc[0];
            foreach (var vcpu in _vcpus)
                vcpu.SetTscOffset(vcpu.GetTscOffset() - passed);
        }
        else
        {
            for (int i = 0; i < _tsc.Length; i++)
                _vcpus[i].TrySetMsr(Tsc, _tsc[i]);
        }

        // KVM's own timers count host time: what fired meanwhile has fired, what has not is armed anew.
        for (int i = 0; i < _deadlines.Length; i++)
        {
            if (_deadlines[i] != 0)
                _vcpus[i].TrySetMsr(TscDeadline, _deadlines[i]);
        }

        // Ticks of the pause that KVM would deliver late are forgotten where the timer is loaded again.
        if (_pit.Channels[0].Mode is RateGenerator or SquareWave)
            _vm.SetPit2(in _pit);
        // Watchdogs of the guest are told; refused where it has no kvmclock.
        foreach (var vcpu in _vcpus)
            vcpu.KvmclockCtrl();
    }

    private ulong[] Read(uint msr)
    {
        ulong[] values = new ulong[_vcpus.Count];
        for (int i = 0; i < values.Length; i++)
            _vcpus[i].TryGetMsr(msr, out values[i]);
        return values;
    }
}
