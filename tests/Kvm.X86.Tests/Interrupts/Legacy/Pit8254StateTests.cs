using Kvm.Devices.Snapshot;
using Kvm.X86.Interrupts;

namespace Kvm.X86.Tests.Interrupts.Legacy;

public sealed class Pit8254StateTests
{
    private readonly PitRig _rig = new();

    [Fact]
    public void A_saved_chip_goes_on_where_it_was()
    {
        _rig.Out(0x43, 0x34);
        _rig.Out(0x40, 0xe8, 0x03);
        _rig.Out(0x43, 0xb0);
        _rig.Out(0x42, 0xe8);
        _rig.To(300);
        var writer = new StateWriter();
        _rig.Pit.Save(writer);
        byte[] record = writer.Written.ToArray();

        var other = new PitRig();
        other.Clock.Set(_rig.Clock.Now);
        var reader = new StateReader(record);
        other.Pit.TryRestore(ref reader, 1).Should().BeTrue();
        var again = new StateWriter();
        other.Pit.Save(again);
        again.Written.ToArray().Should().Equal(record);
        other.Latched(0).Should().Be(700);
        other.To(1000);
        other.Rises.Should().Be(1);
        other.Out(0x42, 0x03);
        other.Latched(2).Should().Be(1000, "the second byte completed the count");

        foreach (byte[] bad in new[] { record[..^1], [.. record, 0], [] })
        {
            var broken = new StateReader(bad);
            other.Pit.TryRestore(ref broken, 1).Should().BeFalse();
        }
    }

    [Fact]
    public void Any_bytes_as_a_record_never_throw()
    {
        var writer = new StateWriter();
        _rig.Pit.Save(writer);
        byte[] good = writer.Written.ToArray();
        var random = new Random(2);
        for (int i = 0; i < 2000; i++)
        {
            byte[] record = [.. good];
            for (int n = random.Next(1, 60); n > 0; n--)
                record[random.Next(record.Length)] = (byte)random.Next();
            var rig = new PitRig();
            var reader = new StateReader(record);
            rig.Pit.TryRestore(ref reader, 1);
            rig.To(1000);
            rig.Latched(0);
            rig.Status(2);
            rig.Speaker.SetGate((i & 1) != 0);
            rig.To(2000);
            rig.Timers.Advance().Should().BeGreaterThan(rig.Clock.Now);
        }
    }

    [Fact]
    public void The_KVM_layout_has_the_fields_of_struct_kvm_pit_state2()
    {
        _rig.To(10);
        _rig.Out(0x43, 0x34);
        _rig.Out(0x40, 0xe8, 0x03);
        byte[] state = new byte[Pit8254.KvmStateSize];
        _rig.Pit.SaveKvmState(state);
        state.Length.Should().Be(112);
        BitConverter.ToUInt32(state, 0).Should().Be(1000);
        state[6..16].Should().Equal(0, 0, 0, 3, 3, 0xe8, 3, 2, 0, 1);
        BitConverter.ToUInt64(state, 16).Should().Be(Pit8254.ToNanoseconds(10));

        var other = new PitRig();
        other.Pit.TryLoadKvmState(state).Should().BeTrue();
        other.To(1000);
        other.Rises.Should().Be(1);
        other.Pit.TryLoadKvmState(state.AsSpan(1)).Should().BeFalse();
    }
}
