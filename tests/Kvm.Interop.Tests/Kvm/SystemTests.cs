namespace Kvm.Interop.Tests.Kvm;

public sealed class SystemTests
{
    [SkippableFact]
    public void The_api_version_is_12_and_a_vcpu_maps_at_least_a_page()
    {
        using KvmSystem system = RealKvm.Open();

        system.GetApiVersion().Should().Be(12);
        system.GetVcpuMmapSize().Should().BeGreaterThanOrEqualTo(4096).And.Match(size => size % 4096 == 0);
    }

    [Fact]
    public void A_missing_device_is_reported_by_number_and_explained_by_exception()
    {
        KvmSystem.TryOpen("/dev/no-such-device", out KvmSystem? system).Should().Be(Errno.ENOENT);
        system.Should().BeNull();

        FluentActions.Invoking(() => KvmSystem.Open("/dev/no-such-device"))
            .Should().Throw<KvmException>().Which.Errno.Should().Be(Errno.ENOENT);
    }

    [Fact]
    public void A_file_that_is_no_kvm_is_refused()
    {
        FluentActions.Invoking(() => KvmSystem.Open("/dev/null"))
            .Should().Throw<KvmException>().Which.Call.Should().Be("KVM_GET_API_VERSION");
    }

    [SkippableFact]
    public void Memory_of_this_process_can_be_guest_memory_on_any_kvm()
    {
        using KvmSystem system = RealKvm.Open();

        system.CheckExtension(KvmCap.KVM_CAP_USER_MEMORY).Should().Be(1);
        system.CheckExtension(KvmCap.KVM_CAP_NR_MEMSLOTS).Should().BeGreaterThanOrEqualTo(32);
        system.CheckExtension((KvmCap)60000).Should().Be(0);
    }

    [SkippableFact]
    public void The_supported_cpuid_has_leaf_0_and_the_hypervisor_leaf()
    {
        using KvmSystem system = RealKvm.Open();

        KvmCpuidEntry2[] leaves = system.GetSupportedCpuid();

        leaves.Should().Contain(leaf => leaf.Function == 0).Which.Eax.Should().BeGreaterThan(0);
        // "KVMKVMKVM" in EBX, ECX, EDX (Documentation/virt/kvm/x86/cpuid.rst).
        KvmCpuidEntry2 signature = leaves.Should().ContainSingle(leaf => leaf.Function == 0x40000000).Subject;
        signature.Ebx.Should().Be(0x4b4d564b);
        signature.Ecx.Should().Be(0x564b4d56);
        signature.Edx.Should().Be(0x4d);
    }

    [SkippableFact]
    public void The_emulated_cpuid_can_be_listed_where_the_capability_says_so()
    {
        using KvmSystem system = RealKvm.Open();
        Skip.If(system.CheckExtension(KvmCap.KVM_CAP_EXT_EMUL_CPUID) == 0, "KVM_CAP_EXT_EMUL_CPUID is missing");

        system.GetEmulatedCpuid().Should().NotBeNull();
    }

    [SkippableFact]
    public void The_hyper_v_leaves_can_be_listed_where_the_capability_says_so()
    {
        using KvmSystem system = RealKvm.Open();
        Skip.If(system.CheckExtension(KvmCap.KVM_CAP_SYS_HYPERV_CPUID) == 0, "KVM_CAP_SYS_HYPERV_CPUID is missing");

        system.GetSupportedHvCpuid().Should().Contain(leaf => leaf.Function == 0x40000000);
    }

    [SkippableFact]
    public void The_msr_list_holds_the_tsc_and_no_number_twice()
    {
        using KvmSystem system = RealKvm.Open();

        uint[] msrs = system.GetMsrIndexList();

        msrs.Should().Contain(0x10).And.OnlyHaveUniqueItems();
    }

    [SkippableFact]
    public void Every_listed_feature_msr_can_be_read()
    {
        using KvmSystem system = RealKvm.Open();
        Skip.If(system.CheckExtension(KvmCap.KVM_CAP_GET_MSR_FEATURES) == 0, "KVM_CAP_GET_MSR_FEATURES is missing");
        KvmMsrEntry[] entries = [.. system.GetMsrFeatureIndexList().Select(index => new KvmMsrEntry(index))];

        int read = 0;
        foreach (KvmMsrEntry entry in entries)
        {
            read += system.GetFeatureMsrs([entry]);
        }

        read.Should().BeInRange(entries.Length / 2, entries.Length);
    }

    [SkippableFact]
    public void A_closed_system_refuses_calls_instead_of_using_a_recycled_descriptor()
    {
        KvmSystem system = RealKvm.Open();
        system.Dispose();
        system.Dispose();

        FluentActions.Invoking(system.GetApiVersion).Should().Throw<ObjectDisposedException>();
    }

    [SkippableFact]
    public void An_impossible_type_of_vm_is_refused_with_a_hint()
    {
        using KvmSystem system = RealKvm.Open();

        KvmException exception = FluentActions.Invoking(() => system.CreateVm(0xdead)).Should().Throw<KvmException>().Which;

        exception.Errno.Should().Be(Errno.EINVAL);
        exception.Message.Should().StartWith("KVM_CREATE_VM failed: EINVAL (").And.Contain("type of VM");
    }
}
