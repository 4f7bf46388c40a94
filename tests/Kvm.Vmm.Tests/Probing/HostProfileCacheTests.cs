using Kvm.Vmm.Probing;

namespace Kvm.Vmm.Tests.Probing;

public class HostProfileCacheTests
{
    private static readonly HostProfile s_profile = new()
    {
        Backend = "pvm",
        NanosecondsPerKernelInstruction = 612.25,
        GivesUpOnInstructions = true,
        SyscallBroken = true,
    };

    [Fact]
    public void What_was_written_under_a_key_is_read_under_it()
    {
        HostProfileCache.Parse(Lines("boot-1 kvm"), "boot-1 kvm").Should().Be(s_profile);
    }

    [Fact]
    public void Another_boot_or_module_parameter_finds_nothing()
    {
        HostProfileCache.Parse(Lines("boot-1 kvm"), "boot-2 kvm").Should().BeNull();
    }

    [Fact]
    public void Any_truncated_or_changed_file_is_no_profile()
    {
        string text = HostProfileCache.Format(s_profile, "key");
        for (int length = 0; length < text.Length - 1; length++)
        {
            var parsed = HostProfileCache.Parse(text[..length].Split('\n'), "key");
            (parsed is null || parsed == s_profile with { SyscallBroken = parsed.SyscallBroken }).Should().BeTrue($"of {length} characters");
        }

        HostProfileCache.Parse(["key", "backend=x", "ns=fast", "givesup=True", "syscall=True"], "key").Should().BeNull();
    }

    [Fact]
    public void Interpreted_is_told_by_time_alone()
    {
        s_profile.KernelInterpreted.Should().BeTrue();
        HostProfile.Plain.KernelInterpreted.Should().BeFalse();
    }

    private static string[] Lines(string key) => HostProfileCache.Format(s_profile, key).TrimEnd('\n').Split('\n');
}
