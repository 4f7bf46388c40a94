namespace Kvm.Interop.Tests.Kvm;

public sealed class KvmExceptionTests
{
    [Fact]
    public void The_message_names_call_error_and_remedy()
    {
        KvmException exception = new("open /dev/kvm", Errno.EACCES);

        exception.Message.Should().Be("open /dev/kvm failed: EACCES (Permission denied). Not permitted: sudo usermod -aG kvm $USER, then log in again");
        exception.Call.Should().Be("open /dev/kvm");
        exception.Errno.Should().Be(Errno.EACCES);
    }

    [Fact]
    public void A_failure_without_a_known_remedy_has_no_hint()
    {
        new KvmException("KVM_TRANSLATE", Errno.EFAULT).Message.Should().Be("KVM_TRANSLATE failed: EFAULT (Bad address)");
    }

    [Fact]
    public void A_hint_of_the_caller_goes_before_the_tables()
    {
        new KvmException("KVM_CREATE_VM", Errno.EBUSY, "ask again").Message.Should().EndWith("ask again");
    }

    [Theory]
    [InlineData("open /dev/kvm", Errno.ENOENT, "not loaded")]
    [InlineData("open /dev/kvm", Errno.ENODEV, "node is there")]
    [InlineData("KVM_CREATE_VM", Errno.EBUSY, "Another hypervisor")]
    [InlineData("KVM_CREATE_IRQCHIP", Errno.EINVAL, "before the first vCPU")]
    [InlineData("KVM_ANYTHING", Errno.EMFILE, "ulimit")]
    [InlineData("KVM_ANYTHING", Errno.ENOTTY, "does not have the call")]
    public void Known_failures_are_explained(string call, int errno, string part)
    {
        KvmException.HintFor(call, errno).Should().Contain(part);
    }

    [Fact]
    public void An_error_number_without_a_name_is_shown_as_a_number()
    {
        Errno.NameOf(4095).Should().Be("errno 4095");
        Errno.NameOf(Errno.EBUSY).Should().Be("EBUSY");
        Errno.TextOf(Errno.EBUSY).Should().Be("Device or resource busy");
    }

    [Fact]
    public void Every_named_error_number_is_found_by_its_number()
    {
        foreach ((int number, string name) in Errno.All)
        {
            Errno.NameOf(number).Should().Be(name);
        }
    }
}
