using FsCheck;
using FsCheck.Fluent;
using Kvm.Devices.Platform;
using Kvm.Devices.Tests.Support;

namespace Kvm.Devices.Tests.Properties;

public sealed class DevicePropertyTests
{
    public static TheoryData<int> EachDevice => [.. Enumerable.Range(0, Machine.DeviceCount)];

    [Theory]
    [MemberData(nameof(EachDevice))]
    public void Any_accesses_of_any_width_at_any_offset_throw_nothing(int device) =>
        Prop.ForAll(Step.Sequence(device, 300).ToArbitrary(), steps =>
        {
            using var machine = new Machine();
            foreach (var step in steps)
                step.Do(machine, device);
        }).QuickCheckThrowOnFailure();

    [Theory]
    [MemberData(nameof(EachDevice))]
    public void Restored_device_behaves_like_the_one_saved(int device) =>
        Prop.ForAll(Step.Sequence(device, 80).ToArbitrary(), Step.Sequence(device, 80).ToArbitrary(), (before, after) =>
        {
            using var machine = new Machine();
            foreach (var step in before)
                step.Do(machine, device);
            // The power-management timer's fraction of a tick is not saved: stop where there is none.
            if (machine.Devices[device] is AcpiPm)
                machine.Time.Advance(TimeSpan.FromTicks(TimeSpan.TicksPerSecond - machine.Time.Utc.Ticks % TimeSpan.TicksPerSecond));
            using var other = new Machine();
            other.Time.Utc = machine.Time.Utc;
            other.Time.Timestamp = machine.Time.Timestamp;
            foreach (var (from, to) in machine.Parts(device).Zip(other.Parts(device)))
            {
                if (!to.RestoreState(from.SaveState()))
                    return false;
            }

            // The wires' levels come across by the restore itself; what follows must be the same.
            int heard = machine.Said.Count, heardOther = other.Said.Count;
            foreach (var step in after)
            {
                if (!step.Do(machine, device).AsSpan().SequenceEqual(step.Do(other, device)))
                    return false;
            }

            return machine.Said.Skip(heard).SequenceEqual(other.Said.Skip(heardOther))
                && machine.Parts(device).Zip(other.Parts(device)).All(p => p.First.SaveState().AsSpan().SequenceEqual(p.Second.SaveState()));
        }).QuickCheckThrowOnFailure();

    [Theory]
    [MemberData(nameof(EachDevice))]
    public void Mutilated_record_is_refused_without_change_or_leaves_a_working_device(int device)
    {
        var mutations = from at in Gen.Choose(0, 200) from value in Gen.Choose(0, 255) from cut in Gen.Choose(-4, 4) select (at, value, cut);
        Prop.ForAll(Step.Sequence(device, 30).ToArbitrary(), mutations.ToArbitrary(), (steps, mutation) =>
        {
            using var machine = new Machine();
            foreach (var step in steps)
                step.Do(machine, device);
            byte[] good = machine.State(device).SaveState();
            byte[] bad = new byte[Math.Max(0, good.Length + Math.Min(mutation.cut, 1))];
            good.AsSpan(0, Math.Min(good.Length, bad.Length)).CopyTo(bad);
            if (bad.Length > 0)
                bad[mutation.at % bad.Length] = (byte)mutation.value;

            using var other = new Machine();
            byte[] fresh = other.State(device).SaveState();
            if (!other.State(device).RestoreState(bad))
                return other.State(device).SaveState().AsSpan().SequenceEqual(fresh);
            foreach (var step in steps)
                step.Do(other, device);
            return other.State(device).RestoreState(other.State(device).SaveState());
        }).QuickCheckThrowOnFailure();
    }

    [Theory]
    [MemberData(nameof(EachDevice))]
    public void Unknown_version_is_refused(int device)
    {
        using var machine = new Machine();
        byte[] record = machine.State(device).SaveState();
        machine.State(device).RestoreState(record, 0).Should().BeFalse();
        machine.State(device).RestoreState(record, (ushort)(machine.State(device).StateVersion + 1)).Should().BeFalse();
        machine.State(device).RestoreState(record).Should().BeTrue();
    }

    [Theory]
    [MemberData(nameof(EachDevice))]
    public async Task Accesses_from_three_threads_and_saves_beside_them_neither_throw_nor_deadlock(int device)
    {
        using var machine = new Machine(TimeProvider.System);
        var steps = Step.Sequence(device, 4_000).Sample(3, 3).ToArray();
        var threads = steps.Select(list => Task.Run(() =>
        {
            byte[] data = new byte[8];
            foreach (var step in list)
            {
                if (step.Kind == StepKind.Read)
                    machine.Devices[device].Read(step.Offset, data.AsSpan(0, step.Width));
                else if (step.Kind == StepKind.Write)
                    machine.Devices[device].Write(step.Offset, BitConverter.GetBytes(step.Value).AsSpan(0, step.Width));
                else if (step.Kind == StepKind.Input)
                    machine.Serial.Receive(data);
                else
                    machine.State(device).SaveState();
            }
        }));
        await Task.WhenAll(threads).WaitAsync(TimeSpan.FromSeconds(60));
        machine.State(device).RestoreState(machine.State(device).SaveState()).Should().BeTrue();
    }

    [Fact]
    public void State_names_are_unique()
    {
        using var machine = new Machine();
        Enumerable.Range(0, Machine.DeviceCount).Select(i => machine.State(i).StateName).Should().OnlyHaveUniqueItems();
    }
}
