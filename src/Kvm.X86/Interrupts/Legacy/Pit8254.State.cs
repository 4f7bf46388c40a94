using Kvm.Devices.Snapshot;

namespace Kvm.X86.Interrupts;

/// <summary>Saved state, and the layout of KVM's <c>struct kvm_pit_state2</c>.</summary>
public sealed partial class Pit8254 : IStateful
{
    /// <summary>Bytes of <c>struct kvm_pit_state2</c>: three counters, flags, nine reserved words.</summary>
    public const int KvmStateSize = (3 * PitChannel.KvmStateSize) + 40;


    /// <inheritdoc/>
    public string StateName => "pit";

    /// <inheritdoc/>
    public ushort StateVersion => 1;

    /// <summary>Writes <c>struct kvm_pit_state2</c>; load times are guest time in ns, and the flags (HPET, speaker) zero.</summary>
    /// <param name="state">At least <see cref="KvmStateSize"/> bytes.</param>
    public void SaveKvmState(Span<byte> state)
    {
        state = state[..KvmStateSize];
        state.Clear();
        lock (_lock)
        {
            for (int i = 0; i < 3; i++)
                _channels[i].Save(state[(i * PitChannel.KvmStateSize)..]);
        }
    }

    /// <summary>
    /// Takes <c>struct kvm_pit_state2</c>. Counts start anew, as they do for KVM_SET_PIT2: the load times in it are another
    /// host's. False, with nothing changed, if there are too few bytes.
    /// </summary>
    public bool TryLoadKvmState(ReadOnlySpan<byte> state)
    {
        if (state.Length < KvmStateSize)
            return false;
        lock (_lock)
        {
            ulong now = _timers.Clock.Now;
            LoadChannels(state, now);
            Arm(now);
        }

        return true;
    }

    /// <inheritdoc/>
    public void Save(StateWriter writer)
    {
        ArgumentNullException.ThrowIfNull(writer);
        Span<byte> state = stackalloc byte[KvmStateSize];
        SaveKvmState(state);
        writer.Bytes(state);
        writer.U64(_deadline);
        foreach (var channel in _channels)
        {
            var (loaded, running, start, frozen) = channel.Progress;
            writer.Bool(loaded);
            writer.Bool(running);
            writer.U64(start);
            writer.U64(frozen);
        }
    }

    /// <inheritdoc/>
    public bool TryRestore(ref StateReader reader, ushort version)
    {
        var state = reader.Bytes(KvmStateSize);
        ulong deadline = reader.U64();
        Span<(bool Loaded, bool Running, ulong Start, ulong Frozen)> progress = stackalloc (bool, bool, ulong, ulong)[3];
        for (int i = 0; i < 3; i++)
            progress[i] = (reader.Bool(), reader.Bool(), reader.U64(), reader.U64());
        if (!reader.Complete || version != 1 || state.Length != KvmStateSize)
            return false;
        lock (_lock)
        {
            ulong now = _timers.Clock.Now;
            LoadChannels(state, now);
            for (int i = 0; i < 3; i++)
                _channels[i].Progress = progress[i];
            bool rises = _channels[0].NextRise(now, ClosestRises) != TimerQueue.Never;
            _deadline = rises || deadline <= now ? deadline : TimerQueue.Never;
            _timers.Arm(_timer, _deadline);
        }

        return true;
    }

    private void LoadChannels(ReadOnlySpan<byte> state, ulong now)
    {
        for (int i = 0; i < 3; i++)
            _channels[i].Load(state.Slice(i * PitChannel.KvmStateSize, PitChannel.KvmStateSize), now);
    }
}
