using FsCheck;
using FsCheck.Fluent;

namespace Kvm.Sched.Tests.Properties;

/// <summary>Whatever happens in whatever order, no CPU is given twice, and no vCPU waits beside an idle one.</summary>
public class DispatcherPropertyTests
{
    private const int Cases = 2000;
    private const int Steps = 150;

    public static TheoryData<string> Policies => [.. PolicyNames.All];

    [Theory]
    [MemberData(nameof(Policies))]
    public void Free_vcpus(string policy) => Check(policy, seed => new RandomDispatcher(policy, seed));

    [Theory]
    [MemberData(nameof(Policies))]
    public void Gangs(string policy) => Check(policy, seed => new RandomDispatcher(policy, seed, gang: true));

    [Theory]
    [MemberData(nameof(Policies))]
    public void Pinned_vcpus(string policy) => Check(policy, seed => new RandomDispatcher(policy, seed, pins: true));

    [Theory]
    [MemberData(nameof(Policies))]
    public void Pinned_gangs_with_limits(string policy) => Check(policy, seed => new RandomDispatcher(policy, seed, gang: true, pins: true, limits: true));

    private static void Check(string policy, Func<int, RandomDispatcher> make) =>
        Prop.ForAll(Gen.Choose(0, int.MaxValue).ToArbitrary(), seed =>
        {
            var dispatcher = make(seed);
            string? wrong = dispatcher.Run(Steps) ?? dispatcher.Drain();
            return (wrong is null).Label($"{policy}, seed {seed}: {wrong}");
        }).Check(Config.QuickThrowOnFailure.WithMaxTest(Cases));
}
