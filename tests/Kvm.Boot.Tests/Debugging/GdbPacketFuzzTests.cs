using System.Globalization;

namespace Kvm.Boot.Tests.Debugging;

public class GdbPacketFuzzTests
{
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    public void Any_packet_is_answered_and_ends_nothing(int seed) => new GdbPacketFuzz(seed).Run();

    /// <summary>What <c>scripts/fuzz gdb</c> runs.</summary>
    [SkippableFact]
    public void FuzzForAsLongAsAsked()
    {
        string? minutes = Environment.GetEnvironmentVariable("KVMSHARP_FUZZ_MINUTES");
        Skip.If(minutes is null, "only by scripts/fuzz gdb");
        int first = int.Parse(Environment.GetEnvironmentVariable("KVMSHARP_FUZZ_SEED") ?? "0", CultureInfo.InvariantCulture), seed = first;
        var end = DateTime.UtcNow + TimeSpan.FromMinutes(double.Parse(minutes!, CultureInfo.InvariantCulture));
        for (; DateTime.UtcNow < end; seed++)
            new GdbPacketFuzz(seed).Run();
        if (Environment.GetEnvironmentVariable("KVMSHARP_FUZZ_REPORT") is { } report)
            File.WriteAllText(report, $"# gdb: {seed - first} machines, from seed {first}\n");
    }
}
